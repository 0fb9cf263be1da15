// The simulation's grip on the Swift runtime: jobs and sleeps come here instead of to threads, and the runtime's clock shows what
// it is told. Only the executable `simulation` has this.
#ifndef CSIMULATION_H
#define CSIMULATION_H

#include <stdint.h>

/// A job that is ready, or will be at `due` nanoseconds of the virtual clock.
typedef void (*simulation_enqueue)(void *job, uint64_t due);

/// From now on every job goes to `enqueue` and `clock_gettime` shows `*now` nanoseconds.
void simulation_take_over(simulation_enqueue enqueue, const uint64_t *now);
/// Runs a job until its task suspends or ends.
void simulation_run(void *job);
/// Nanoseconds of the real CLOCK_MONOTONIC.
uint64_t simulation_real_time(void);
/// fork(2), which Swift's Glibc module does not offer.
int simulation_fork(void);
/// A file without a name, for what a child process says.
int simulation_memory_file(void);
/// Turns address space randomization off for what this process executes next; false if it was off.
int simulation_fix_addresses(void);

#endif
