#pragma once

// Both C libraries of Linux have it, and Swift's modules of them do not declare it.
#ifdef __linux__
extern int pipe2(int ends[2], int flags);
#endif
