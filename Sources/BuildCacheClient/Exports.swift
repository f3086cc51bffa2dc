// What the API of every backend is made of: who imports one backend can name all of it.
@_exported public import BuildCacheBytes
@_exported public import BuildCacheCore
@_exported public import BuildCacheGraph
@_exported public import BuildCacheOCI
@_exported public import BuildCacheSigning
