import BuildCacheCore

/// The recipe of a layer that no test makes.
struct NoRecipe: PendingLayerRecipe {}
