// One import gives a tool everything: the values, the specs, the graph, and all backends.
@_exported public import BuildCacheAzure
@_exported public import BuildCacheBytes
@_exported public import BuildCacheClient
@_exported public import BuildCacheCore
@_exported public import BuildCacheGitHubActions
@_exported public import BuildCacheGraph
@_exported public import BuildCacheHTTP
@_exported public import BuildCacheInline
@_exported public import BuildCacheLocal
@_exported public import BuildCacheOCI
@_exported public import BuildCacheRegistry
@_exported public import BuildCacheS3
@_exported public import BuildCacheSpec
@_exported public import BuildCacheTransfer
