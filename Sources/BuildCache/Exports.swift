// One import gives a tool everything. Each of these brings the modules that its API names.
@_exported public import BuildCacheAzure
@_exported public import BuildCacheClient
@_exported public import BuildCacheGitHubActions
@_exported public import BuildCacheRegistry
@_exported public import BuildCacheS3
@_exported public import BuildCacheSpec
