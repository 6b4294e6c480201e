/* Holds the namespaces of a pod while its containers come and go, as the first process of the pod:
   it has to end when it is told to, and to let go of the children that it is left with. */
#include <signal.h>
#include <unistd.h>

static void end(int signal_number) {
    (void)signal_number;
    _exit(0);
}

int main(void) {
    signal(SIGTERM, end);
    signal(SIGINT, end);
    signal(SIGCHLD, SIG_IGN);
    for (;;) pause();
}
