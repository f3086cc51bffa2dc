#pragma once

// Calls that Swift's modules of the C libraries do not declare, or declare as macros, in one form for Linux and macOS.

#include <stddef.h>
#include <sys/types.h>
#include <sys/xattr.h>

#ifdef __linux__
#include <sys/sysmacros.h>
#endif

// The names of a file's extended attributes, each with a zero byte behind it; links are not followed.
static inline ssize_t attributes_list(const char *path, char *names, size_t size) {
#ifdef __linux__
    return llistxattr(path, names, size);
#else
    return listxattr(path, names, size, XATTR_NOFOLLOW);
#endif
}

// The value of an extended attribute; links are not followed.
static inline ssize_t attributes_get(const char *path, const char *name, void *value, size_t size) {
#ifdef __linux__
    return lgetxattr(path, name, value, size);
#else
    return getxattr(path, name, value, size, 0, XATTR_NOFOLLOW);
#endif
}

// The same of an open file.
static inline ssize_t attributes_list_open(int file, char *names, size_t size) {
#ifdef __linux__
    return flistxattr(file, names, size);
#else
    return flistxattr(file, names, size, 0);
#endif
}

static inline ssize_t attributes_get_open(int file, const char *name, void *value, size_t size) {
#ifdef __linux__
    return fgetxattr(file, name, value, size);
#else
    return fgetxattr(file, name, value, size, 0, 0);
#endif
}

static inline unsigned attributes_major(dev_t device) { return (unsigned)major(device); }
static inline unsigned attributes_minor(dev_t device) { return (unsigned)minor(device); }
