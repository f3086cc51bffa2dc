import BuildCacheCore

extension LLB.ExecOp: LLBMessage {
    mutating func visit(_ fields: inout some FieldVisitor) throws(CacheError) {
        try fields.message(1, "meta", &meta)
        try fields.messages(2, "mounts", &mounts)
        try fields.choice(3, "network", &network)
        try fields.choice(4, "security", &security)
        try fields.messages(5, "secretenv", &secretVariables)
        try fields.messages(6, "cdiDevices", &devices)
    }
}

extension LLB.Meta: LLBMessage {
    mutating func visit(_ fields: inout some FieldVisitor) throws(CacheError) {
        try fields.strings(1, "args", &arguments)
        try fields.strings(2, "env", &environment)
        try fields.string(3, "cwd", &workingDirectory)
        try fields.string(4, "user", &user)
        try fields.message(5, "proxy_env", &proxy)
        try fields.messages(6, "extraHosts", &extraHosts)
        try fields.string(7, "hostname", &hostname)
        try fields.messages(9, "ulimit", &limits)
        try fields.string(10, "cgroupParent", &cgroupParent)
        try fields.bool(11, "removeMountStubsRecursive", &removesMountStubs)
        try fields.integers(12, "validExitCodes", &validExitCodes)
    }
}

extension LLB.Mount: LLBMessage {
    mutating func visit(_ fields: inout some FieldVisitor) throws(CacheError) {
        try fields.integer(1, "input", &input)
        try fields.string(2, "selector", &selector)
        try fields.string(3, "dest", &destination)
        try fields.integer(4, "output", &output)
        try fields.bool(5, "readonly", &isReadOnly)
        try fields.choice(6, "mountType", &kind)
        try fields.message(19, "TmpfsOpt", &tmpfs)
        try fields.message(20, "cacheOpt", &cache)
        try fields.message(21, "secretOpt", &secret)
        try fields.message(22, "SSHOpt", &ssh)
        try fields.string(23, "resultID", &resultID)
        try fields.choice(24, "contentCache", &contentCache)
    }
}

extension LLB.Proxy: LLBMessage {
    mutating func visit(_ fields: inout some FieldVisitor) throws(CacheError) {
        try fields.string(1, "http_proxy", &http)
        try fields.string(2, "https_proxy", &https)
        try fields.string(3, "ftp_proxy", &ftp)
        try fields.string(4, "no_proxy", &no)
        try fields.string(5, "all_proxy", &all)
    }
}

extension LLB.HostAddress: LLBMessage {
    mutating func visit(_ fields: inout some FieldVisitor) throws(CacheError) {
        try fields.string(1, "Host", &host)
        try fields.string(2, "IP", &address)
    }
}

extension LLB.ResourceLimit: LLBMessage {
    mutating func visit(_ fields: inout some FieldVisitor) throws(CacheError) {
        try fields.string(1, "Name", &name)
        try fields.integer(2, "Soft", &soft)
        try fields.integer(3, "Hard", &hard)
    }
}

extension LLB.SecretVariable: LLBMessage {
    mutating func visit(_ fields: inout some FieldVisitor) throws(CacheError) {
        try fields.string(1, "ID", &id)
        try fields.string(2, "name", &name)
        try fields.bool(3, "optional", &isOptional)
    }
}

extension LLB.Device: LLBMessage {
    mutating func visit(_ fields: inout some FieldVisitor) throws(CacheError) {
        try fields.string(1, "name", &name)
        try fields.bool(2, "optional", &isOptional)
    }
}

extension LLB.TmpfsOptions: LLBMessage {
    mutating func visit(_ fields: inout some FieldVisitor) throws(CacheError) {
        try fields.integer(1, "size", &size)
    }
}

extension LLB.CacheOptions: LLBMessage {
    mutating func visit(_ fields: inout some FieldVisitor) throws(CacheError) {
        try fields.string(1, "ID", &id)
        try fields.choice(2, "sharing", &sharing)
    }
}

extension LLB.SecretOptions: LLBMessage {
    mutating func visit(_ fields: inout some FieldVisitor) throws(CacheError) {
        try fields.string(1, "ID", &id)
        try fields.integer(2, "uid", &uid)
        try fields.integer(3, "gid", &gid)
        try fields.integer(4, "mode", &mode)
        try fields.bool(5, "optional", &isOptional)
    }
}
