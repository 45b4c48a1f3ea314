// Threads that work on one call together.
#pragma once

namespace glasslstm {

// Runs body(thread, threads, context) once for each thread of a team of at most `threads`, the caller's being
// number 0, and returns when all have ended. After a fork, in the child, the team is the caller alone: the other
// threads do not exist there.
void run_team(int threads, void (*body)(int thread, int threads, void* context), void* context);

// Give the processor to another thread.
void yield_processor();

// Seconds of a clock that only goes forward.
double now();

// Threads that wait for each other after every step lose more than they win where other processes want the
// processors too. Whoever had to wait for long notes it, and for a while such work goes to one thread.
void note_busy();
bool busy();

// In seconds. Tests make them short or long.
struct Patience {
    double late = 1e-3;  // a wait of more is long
    double busy = 0.1;   // a machine counts as busy for so long
};
extern Patience patience;

}  // namespace glasslstm
