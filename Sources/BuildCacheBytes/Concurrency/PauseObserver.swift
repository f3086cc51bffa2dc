/// The observer of pauses in the tasks that it is bound to: an operation that waits says so, however deep below its caller it waits.
package struct PauseObserver: Sendable {
    /// The observer of this task.
    @TaskLocal package static var current: PauseObserver?

    /// Takes the length of a pause that begins, and the reason for it in one line.
    package let report: @Sendable (Duration, String) -> Void

    package init(_ report: @escaping @Sendable (Duration, String) -> Void) { self.report = report }
}
