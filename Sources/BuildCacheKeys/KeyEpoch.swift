/// The versions of BuildKit that make the same keys of the same step.
///
/// Caches cross an epoch without an error, and steps whose keys differ miss. Since BuildKit 0.18 only the digests of content that a
/// wildcard, an include or an exclude pattern selects have changed; what else changed came with fields that older versions do not have.
/// The keys of BuildKit before 0.17, such as the one inside Docker 20.10, are others in every step and cannot be made here.
///
/// - Source: `Documentation/Spec/cache-keys.md` §8.
@nonexhaustive
public enum KeyEpoch: Hashable, Sendable, CaseIterable {
    /// BuildKit 0.18 to 0.24.
    case upTo24
    /// BuildKit 0.25.
    case only25
    /// BuildKit 0.26 and later.
    case from26

    /// The newest epoch, in which keys are written.
    public static let current = KeyEpoch.from26
}
