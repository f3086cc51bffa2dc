// The API names digests, errors and graphs.
@_exported public import BuildCacheCore
@_exported public import BuildCacheGraph
