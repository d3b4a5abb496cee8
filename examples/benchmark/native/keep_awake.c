/* Keeps a CPU from going to sleep: keep_awake CPU. Spins at the lowest priority, so whatever else runs there goes first. */

#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET((size_t)atoi(argv[1]), &cpus);
    const struct sched_param parameters = {0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (sched_setaffinity(0, sizeof cpus, &cpus) || sched_setscheduler(0, SCHED_IDLE, &parameters)) {
        perror("keep_awake");
        return 1;
    }
    puts("{\"ready\": true}");
    fflush(stdout);
    for (;;)
        __asm__ volatile("" ::: "memory");
}
