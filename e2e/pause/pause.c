/*
 * The first process of a namespace: it holds the namespace open, buries its orphans, and leaves when told to.
 *
 * Kubernetes wants such a process in every pod (the "pause" image); cluster.sh uses the same one as the first process of a node.
 */
#include <signal.h>
#include <stddef.h>
#include <sys/wait.h>

int main(void)
{
	sigset_t set;
	int signal;

	/* The first process of a PID namespace gets only signals that it asked for; blocked ones wait here until sigwait. */
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);

	while (sigwait(&set, &signal) == 0 && signal == SIGCHLD)
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	return 0;
}
