import Foundation
import TestTools

/// The files that BuildKit wrote.
enum Fixtures {
    static let root = FixtureArchive.buildkit.path
}
