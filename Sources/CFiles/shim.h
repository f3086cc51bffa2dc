#pragma once

// System calls on files that Swift's modules of the C libraries do not declare, or declare as macros, in one form for Linux and macOS.
// Each returns what the call returns and sets errno.

#include <stddef.h>
#include <stdint.h>

#ifdef __linux__
// Only numbers: the headers of the C library would become a part of this module, and with them the types that they declare.
#include <sys/syscall.h>

extern long syscall(long number, ...);
extern int syncfs(int file);
extern long fgetxattr(int file, const char *name, void *value, unsigned long size);
extern long flistxattr(int file, char *names, unsigned long size);
extern long lgetxattr(const char *path, const char *name, void *value, unsigned long size);
extern long llistxattr(const char *path, char *names, unsigned long size);
extern int fsetxattr(int file, const char *name, const void *value, unsigned long size, int flags);

struct files_open_how {
    uint64_t flags, mode, resolve;
};

// Holds a directory without the permission to list it: O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC.
#if defined(__aarch64__) || defined(__arm__)
enum { files_hold_directory = 010000000 | 040000 | 0100000 | 02000000 };
#else
enum { files_hold_directory = 010000000 | 0200000 | 0400000 | 02000000 };
#endif
#else
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/types.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { files_hold_directory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };
#endif

// Opens a directory some levels below another without following any link; ENOSYS where the kernel cannot do that in one call.
static inline int files_open_beneath(int directory, const char *path, int flags) {
#ifdef __linux__
    // RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH
    struct files_open_how how = {(uint64_t)flags, 0, 0x02 | 0x04 | 0x08};
    return (int)syscall(437, directory, path, &how, sizeof how);
#else
    (void)directory, (void)path, (void)flags;
    errno = ENOSYS;
    return -1;
#endif
}

// Renames and fails with EEXIST if the new name is taken.
static inline int files_rename_new(int from, const char *name, int to, const char *newName) {
#ifdef __linux__
    return (int)syscall(SYS_renameat2, from, name, to, newName, 1U);
#else
    return renameatx_np(from, name, to, newName, RENAME_EXCL);
#endif
}

// Swaps two names.
static inline int files_rename_exchange(int from, const char *name, int to, const char *newName) {
#ifdef __linux__
    return (int)syscall(SYS_renameat2, from, name, to, newName, 2U);
#else
    return renameatx_np(from, name, to, newName, RENAME_SWAP);
#endif
}

static inline long files_get_attribute(int file, const char *name, void *value, size_t size) {
#ifdef __linux__
    return fgetxattr(file, name, value, size);
#else
    return fgetxattr(file, name, value, size, 0, 0);
#endif
}

// The attribute of what stands under a name, nothing followed; ENOSYS where the kernel cannot do that in one call.
static inline long files_get_attribute_at(int directory, const char *file, const char *name, void *value, size_t size) {
#ifdef __linux__
    struct {
        uint64_t value;
        uint32_t size, flags;
    } arguments = {(uint64_t)(uintptr_t)value, (uint32_t)size, 0};
    // AT_SYMLINK_NOFOLLOW
    return syscall(464, directory, file, 0x100, name, &arguments, sizeof arguments);
#else
    (void)directory, (void)file, (void)name, (void)value, (void)size;
    errno = ENOSYS;
    return -1;
#endif
}

static inline long files_list_attributes(int file, char *names, size_t size) {
#ifdef __linux__
    return flistxattr(file, names, size);
#else
    return flistxattr(file, names, size, 0);
#endif
}

// The attributes of what stands at a path, which may be a link that nothing can open.
static inline long files_get_attribute_of(const char *path, const char *name, void *value, size_t size) {
#ifdef __linux__
    return lgetxattr(path, name, value, size);
#else
    return getxattr(path, name, value, size, 0, XATTR_NOFOLLOW);
#endif
}

static inline long files_list_attributes_of(const char *path, char *names, size_t size) {
#ifdef __linux__
    return llistxattr(path, names, size);
#else
    return listxattr(path, names, size, XATTR_NOFOLLOW);
#endif
}

static inline int files_set_attribute(int file, const char *name, const void *value, size_t size) {
#ifdef __linux__
    return fsetxattr(file, name, value, size, 0);
#else
    return fsetxattr(file, name, value, size, 0, 0);
#endif
}

// The two numbers of a device, and back.
#ifdef __linux__
static inline unsigned files_major(unsigned long device) { return (unsigned)((device >> 8 & 0xfff) | (device >> 32 & ~0xfffu)); }
static inline unsigned files_minor(unsigned long device) { return (unsigned)((device & 0xff) | (device >> 12 & ~0xffu)); }
static inline unsigned long files_device(unsigned high, unsigned low) {
    return (unsigned long)((uint64_t)(high & 0xfff) << 8 | (uint64_t)(high & ~0xfffu) << 32 | (low & 0xff) |
                           (uint64_t)(low & ~0xffu) << 12);
}
#else
static inline unsigned files_major(dev_t device) { return (unsigned)major(device); }
static inline unsigned files_minor(dev_t device) { return (unsigned)minor(device); }
static inline dev_t files_device(unsigned high, unsigned low) { return makedev(high, low); }
#endif

// Writes all changes of the file system that a file is on to its disk.
static inline int files_synchronize(int file) {
#ifdef __linux__
    return syncfs(file);
#else
    return fcntl(file, F_FULLFSYNC);
#endif
}
