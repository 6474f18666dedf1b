/* The program in the demo's image: says what it is and how much of the image's data it found, then stays until it is told to end. */
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static void end(int signal) { (void)signal, _exit(0); }

int main(int count, char **arguments) {
	struct stat base, own;
	signal(SIGTERM, end);
	if (stat("/base.bin", &base) || stat("/own.bin", &own)) {
		fprintf(stderr, "a layer of the image is missing\n");
		return 1;
	}
	printf("hello from %s, with %lld bytes of data\n", count > 1 ? arguments[1] : "the demo", (long long)base.st_size + own.st_size);
	fflush(stdout);
	for (;;) pause();
}
