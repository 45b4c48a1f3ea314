#include "team.h"

#include <pthread.h>
#include <sched.h>
#include <time.h>

#include <atomic>

#if defined(GLASSLSTM_STD_THREAD)
#include <thread>
#include <vector>
#elif defined(_OPENMP)
#include <omp.h>
#endif

namespace glasslstm {
namespace {

std::atomic<double> busy_until{0};

bool forked = false;

const int registered = pthread_atfork(nullptr, nullptr, [] { forked = true; });

}  // namespace

Patience patience;

void run_team(int threads, void (*body)(int, int, void*), void* context) {
    if (threads <= 1 || forked) return body(0, 1, context);
#if defined(GLASSLSTM_STD_THREAD)
    std::vector<std::thread> others;
    for (int k = 1; k < threads; ++k) others.emplace_back(body, k, threads, context);
    body(0, threads, context);
    for (std::thread& other : others) other.join();
#elif defined(_OPENMP)
    // The runtime may give fewer threads than it is asked for.
#pragma omp parallel num_threads(threads)
    body(omp_get_thread_num(), omp_get_num_threads(), context);
#else
    body(0, 1, context);
#endif
}

void yield_processor() { sched_yield(); }

double now() {
    timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return double(time.tv_sec) + 1e-9 * double(time.tv_nsec);
}

void note_busy() { busy_until.store(now() + patience.busy, std::memory_order_relaxed); }

bool busy() {
    const double until = busy_until.load(std::memory_order_relaxed);
    return until > 0 && now() < until;
}

}  // namespace glasslstm
