// The API names operations, keys and errors.
@_exported public import BuildCacheKeys
