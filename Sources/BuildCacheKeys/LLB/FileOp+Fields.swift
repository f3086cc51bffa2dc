import BuildCacheCore

extension LLB.FileOp: LLBMessage {
    mutating func visit(_ fields: inout some FieldVisitor) throws(CacheError) {
        try fields.messages(2, "actions", &actions)
    }
}

extension LLB.FileAction: LLBMessage {
    mutating func visit(_ fields: inout some FieldVisitor) throws(CacheError) {
        try fields.integer(1, "input", &input)
        try fields.integer(2, "secondaryInput", &secondaryInput)
        try fields.integer(3, "output", &output)
        var copy: LLB.Copy?
        var file: LLB.MakeFile?
        var directory: LLB.MakeDirectory?
        var remove: LLB.Remove?
        var link: LLB.Symlink?
        switch change {
        case .copy(let value): copy = value
        case .makeFile(let value): file = value
        case .makeDirectory(let value): directory = value
        case .remove(let value): remove = value
        case .symlink(let value): link = value
        case nil: break
        }
        try fields.message(4, "copy", &copy)
        try fields.message(5, "mkfile", &file)
        try fields.message(6, "mkdir", &directory)
        try fields.message(7, "rm", &remove)
        try fields.message(8, "symlink", &link)
        change =
            copy.map { .copy($0) } ?? file.map { .makeFile($0) } ?? directory.map { .makeDirectory($0) }
            ?? remove.map { .remove($0) } ?? link.map { .symlink($0) }
    }
}

extension LLB.Copy: LLBMessage {
    mutating func visit(_ fields: inout some FieldVisitor) throws(CacheError) {
        try fields.string(1, "src", &source)
        try fields.string(2, "dest", &destination)
        try fields.message(3, "owner", &owner)
        try fields.integer(4, "mode", &mode)
        try fields.bool(5, "followSymlink", &followsSymlinks)
        try fields.bool(6, "dirCopyContents", &copiesDirectoryContents)
        try fields.bool(7, "attemptUnpackDockerCompatibility", &unpacksArchives)
        try fields.bool(8, "createDestPath", &createsDestinationPath)
        try fields.bool(9, "allowWildcard", &allowsWildcard)
        try fields.bool(10, "allowEmptyWildcard", &allowsEmptyWildcard)
        try fields.integer(11, "timestamp", &timestamp)
        try fields.strings(12, "include_patterns", &includePatterns)
        try fields.strings(13, "exclude_patterns", &excludePatterns)
        try fields.bool(14, "alwaysReplaceExistingDestPaths", &replacesExisting)
        try fields.string(15, "modeStr", &modeText)
        try fields.strings(16, "required_paths", &requiredPaths)
    }
}

extension LLB.MakeFile: LLBMessage {
    mutating func visit(_ fields: inout some FieldVisitor) throws(CacheError) {
        try fields.string(1, "path", &path)
        try fields.integer(2, "mode", &mode)
        try fields.bytes(3, "data", &data)
        try fields.message(4, "owner", &owner)
        try fields.integer(5, "timestamp", &timestamp)
    }
}

extension LLB.MakeDirectory: LLBMessage {
    mutating func visit(_ fields: inout some FieldVisitor) throws(CacheError) {
        try fields.string(1, "path", &path)
        try fields.integer(2, "mode", &mode)
        try fields.bool(3, "makeParents", &makesParents)
        try fields.message(4, "owner", &owner)
        try fields.integer(5, "timestamp", &timestamp)
    }
}

extension LLB.Remove: LLBMessage {
    mutating func visit(_ fields: inout some FieldVisitor) throws(CacheError) {
        try fields.string(1, "path", &path)
        try fields.bool(2, "allowNotFound", &allowsNotFound)
        try fields.bool(3, "allowWildcard", &allowsWildcard)
    }
}

extension LLB.Symlink: LLBMessage {
    mutating func visit(_ fields: inout some FieldVisitor) throws(CacheError) {
        try fields.string(1, "oldpath", &target)
        try fields.string(2, "newpath", &path)
        try fields.message(3, "owner", &owner)
        try fields.integer(4, "timestamp", &timestamp)
    }
}

extension LLB.Owner: LLBMessage {
    mutating func visit(_ fields: inout some FieldVisitor) throws(CacheError) {
        try fields.message(1, "user", &user)
        try fields.message(2, "group", &group)
    }
}

extension LLB.User: LLBMessage {
    mutating func visit(_ fields: inout some FieldVisitor) throws(CacheError) {
        try fields.oneof("User", isSet: name != nil || id != nil, &self) { fields, user throws(CacheError) in
            try fields.message(1, "byName", &user.name)
            try fields.member(2, "byId", &user.id)
        }
    }
}

extension LLB.NamedUser: LLBMessage {
    mutating func visit(_ fields: inout some FieldVisitor) throws(CacheError) {
        try fields.string(1, "name", &name)
        try fields.integer(2, "input", &input)
    }
}
