import BuildCacheCore
import BuildCacheKeys

/// The state of a stage behind some of its instructions.
struct StageState {
    /// The file system; `nil` for an empty one.
    var output: OperationGraph.Node?
    /// Variables of processes, in the order in which they were set last.
    private(set) var environment: [(name: Text, value: Text)] = []
    /// The variables as processes get them: made once, because all steps share them.
    private(set) var entries: [String] = []
    var directory = "/"
    var user = ""
    var platform: LLB.Platform
    var settings: ImageSettings

    init(output: OperationGraph.Node?, platform: LLB.Platform, settings: ImageSettings) {
        self.output = output
        self.platform = platform
        self.settings = settings
    }

    /// The value of a variable.
    func value(of name: Text) -> Text? { environment.last { $0.name == name }?.value }

    /// Sets a variable, which moves behind all others.
    mutating func set(_ name: Text, _ value: Text) {
        if let index = environment.firstIndex(where: { $0.name == name }) {
            environment.remove(at: index)
            entries.remove(at: index)
        }
        environment.append((name, value))
        entries.append("\(name.string)=\(value.string)")
    }

    /// Sets a variable of the image, at the place where it was.
    mutating func setInImage(_ name: Text, _ value: Text) {
        let prefix = name.string + "="
        let entry = prefix + value.string
        if let index = settings.environment.firstIndex(where: { $0.utf8.starts(with: prefix.utf8) }) {
            settings.environment[index] = entry
        } else {
            settings.environment.append(entry)
        }
    }

    /// Begins a stage: its variables are those of the image, behind others that were inherited.
    mutating func begin() {
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        if !settings.environment.contains(where: { $0.utf8.starts(with: "PATH=".utf8) }) {
            settings.environment.append("PATH=\(path)")
        }
        for entry in settings.environment {
            let (name, value) = Text(entry).cut("=") ?? (Text(entry), [])
            set(name, value)
        }
        if !settings.workingDirectory.isEmpty {
            directory = UnixPath.normalize(settings.workingDirectory, parent: settings.workingDirectory)
            settings.workingDirectory = directory
        }
        if !settings.user.isEmpty { user = settings.user }
    }
}
