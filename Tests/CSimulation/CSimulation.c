#include "CSimulation.h"

#include <errno.h>
#include <sys/personality.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// swift/Runtime/Concurrency.h: variables of the runtime, null until somebody sets them.
#define SWIFTCALL __attribute__((swiftcall))
extern void (*swift_task_enqueueGlobal_hook)(void *job, void *original) SWIFTCALL;
extern void (*swift_task_enqueueGlobalWithDelay_hook)(unsigned long long delay, void *job, void *original) SWIFTCALL;
extern void (*swift_task_enqueueGlobalWithDeadline_hook)(
    long long seconds, long long nanoseconds, long long tolerance_s, long long tolerance_ns, int clock, void *job, void *original) SWIFTCALL;
// The executor is two words; null means no executor in particular.
extern void swift_job_run(void *job, void *identity, void *implementation) SWIFTCALL;

static simulation_enqueue enqueue_job;
static const uint64_t *virtual_now;

static SWIFTCALL void enqueue(void *job, void *original) { enqueue_job(job, *virtual_now); }

static SWIFTCALL void enqueue_after(unsigned long long delay, void *job, void *original) { enqueue_job(job, *virtual_now + delay); }

static SWIFTCALL void enqueue_at(
    long long seconds, long long nanoseconds, long long tolerance_s, long long tolerance_ns, int clock, void *job, void *original)
{
    enqueue_job(job, (uint64_t)seconds * 1000000000u + (uint64_t)nanoseconds);
}

void simulation_take_over(simulation_enqueue to, const uint64_t *now)
{
    enqueue_job = to;
    virtual_now = now;
    swift_task_enqueueGlobal_hook = enqueue;
    swift_task_enqueueGlobalWithDelay_hook = enqueue_after;
    swift_task_enqueueGlobalWithDeadline_hook = enqueue_at;
}

void simulation_run(void *job) { swift_job_run(job, 0, 0); }

// In place of the C library's: the runtime's ContinuousClock asks it.
int clock_gettime(clockid_t clock, struct timespec *time)
{
    if (!virtual_now) return (int)syscall(SYS_clock_gettime, clock, time);
    time->tv_sec = (time_t)(*virtual_now / 1000000000u);
    time->tv_nsec = (long)(*virtual_now % 1000000000u);
    return 0;
}

uint64_t simulation_real_time(void)
{
    struct timespec time;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

int simulation_fork(void) { return fork(); }

int simulation_memory_file(void) { return (int)syscall(SYS_memfd_create, "seed", 0); }

int simulation_fix_addresses(void)
{
    int old = personality(0xffffffff);
    if (old == -1 || (old & ADDR_NO_RANDOMIZE)) return 0;
    return personality((unsigned long)old | ADDR_NO_RANDOMIZE) != -1;
}
