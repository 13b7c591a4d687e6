package extract

import "golang.org/x/sys/unix"

// auditArch is the system call convention that the numbers of systemCallFilter belong to.
const auditArch = unix.AUDIT_ARCH_X86_64
