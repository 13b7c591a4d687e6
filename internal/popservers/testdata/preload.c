/* Stands in for what Courier's packages make when they are installed: leads
 * connections to its authdaemon, whose path is compiled in, to the socket that the
 * environment names; and lets another user be the user "courier", whom couriertls
 * becomes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int connect(int fd, const struct sockaddr *addr, socklen_t len)
{
	int (*real)(int, const struct sockaddr *, socklen_t) =
		(int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "connect");
	const struct sockaddr_un *to = (const struct sockaddr_un *)addr;
	const char *path = getenv("POSTKEEP_AUTHDAEMON");
	struct sockaddr_un other = {.sun_family = AF_UNIX};

	if (path && addr->sa_family == AF_UNIX && strstr(to->sun_path, "/authdaemon/")) {
		strncpy(other.sun_path, path, sizeof other.sun_path - 1);
		return real(fd, (struct sockaddr *)&other, sizeof other);
	}
	return real(fd, addr, len);
}

struct passwd *getpwnam(const char *name)
{
	struct passwd *(*real)(const char *) = (struct passwd *(*)(const char *))dlsym(RTLD_NEXT, "getpwnam");

	if (strcmp(name, "courier") != 0)
		return real(name);
	return getuid() == 0 ? real("nobody") : getpwuid(getuid());
}
