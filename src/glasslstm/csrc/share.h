// How the work of one call is shared out, and how its threads wait for each other.
#pragma once

#include "core.h"
#include "team.h"
#include "tile.h"

namespace glasslstm {
namespace GLASSLSTM_ISA {

// A part of [0, count): part `index` of `parts`.
struct Range {
    long begin, end;

    Range(long count, int index, int parts) : begin(count * index / parts), end(count * (index + 1) / parts) {}
};

// Memory handed out piece by piece, each aligned to 64 bytes. With a null base it only counts.
class Arena {
public:
    explicit Arena(void* base) : base_(static_cast<char*>(base)) {}

    template <class U>
    U* take(long count) {
        char* piece = base_ ? base_ + used_ : nullptr;
        used_ += (size_t(count) * sizeof(U) + 63) / 64 * 64;
        return reinterpret_cast<U*>(piece);
    }

    size_t used() const { return used_; }

private:
    char* base_;
    size_t used_ = 0;
};

// Where the threads of a group wait until all of them have come. When the first one of a group must wait for long after
// a step, it dissolves the group: from a later wait on, the same one for all, it is alone. (The others may have lost
// their processors to another process, and would each time again. At the start of a call they may have been asleep.)
class Barrier {
public:
    static constexpr int kMaxThreads = 256;

    void reset(int threads) {
        for (int k = 0; k < threads; ++k) {
            slots_[k].arrived = 0;
            slots_[k].alone_from = 0;
        }
    }

    // For threads [begin, end).
    void wait(int thread, int begin, int end) { wait_or_dissolve(thread, begin, end, false); }
    void wait_after_step(int thread, int begin, int end) { wait_or_dissolve(thread, begin, end, true); }

    // Whether the group is dissolved, as of the last wait.
    bool dissolved(int thread, int begin) const {
        const long from = __atomic_load_n(&slots_[begin].alone_from, __ATOMIC_RELAXED);
        return from && slots_[thread].arrived >= from;
    }

private:
    void wait_or_dissolve(int thread, int begin, int end, bool after_step) {
        const long mine = slots_[thread].arrived + 1;
        __atomic_store_n(&slots_[thread].arrived, mine, __ATOMIC_RELEASE);
        bool late = false;
        for (int k = begin; k < end; ++k) late |= wait_for(slots_[k].arrived, mine);
        if (!late || !after_step || thread != begin || slots_[begin].alone_from) return;
        note_busy();
        // The others see it after the wait that comes next, and not before.
        __atomic_store_n(&slots_[begin].alone_from, mine + 1, __ATOMIC_RELAXED);
    }

    static constexpr long kSpins = 1000;

    // Whether it took long.
    static bool wait_for(const long& count, long target) {
        for (long spins = 0; spins < kSpins; ++spins) {
            if (__atomic_load_n(&count, __ATOMIC_ACQUIRE) >= target) return false;
            pause();
        }
        const double start = now();
        while (__atomic_load_n(&count, __ATOMIC_ACQUIRE) < target)
            yield_processor();  // the other one may be waiting for this very processor
        return now() - start > patience.late;
    }

    static void pause() {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        asm volatile("yield");
#endif
    }

    struct alignas(64) Slot {
        long arrived;     // waits that the thread has come to
        long alone_from;  // the wait from which on the thread is alone; 0: never
    };
    Slot slots_[kMaxThreads];
};

// The sequences of a batch, the longest first, equals in their order; and how many of them have a step t.
template <class T>
class Order {
public:
    Order(const Layer<T>& layer, Arena& arena)
        : batch_(layer.batch),
          given_(layer.lengths),
          sequences_(arena.take<long>(layer.batch)),
          lengths_(layer.lengths ? arena.take<long>(layer.batch) : nullptr),
          counts_(layer.lengths ? arena.take<long>(layer.time + 1) : nullptr) {}

    // Sorts by counting.
    void fill(long time) {
        for (long b = 0; b < batch_; ++b) sequences_[b] = b;
        if (!given_) return;
        for (long t = 0; t <= time; ++t) counts_[t] = 0;
        for (long b = 0; b < batch_; ++b) {
            lengths_[b] = given_[b] < 0 ? 0 : given_[b] > time ? time : long(given_[b]);
            ++counts_[lengths_[b]];
        }
        for (long t = time; t > 0; --t) counts_[t - 1] += counts_[t];  // the sequences with at least t steps
        for (long b = batch_ - 1; b >= 0; --b) sequences_[--counts_[lengths_[b]]] = b;
        // Each counter now stands at those with more than t steps: the ones that have a step t.
    }

    long sequence(long k) const { return sequences_[k]; }
    long length(long k, long time) const { return lengths_ ? lengths_[sequences_[k]] : time; }
    // How many have a step t, t >= 0.
    long active(long t) const { return counts_ ? counts_[t] : batch_; }

private:
    long batch_;
    const int64_t* given_;
    long* sequences_;
    long* lengths_;
    long* counts_;
};

// Calls visit(rows, steps, sequences) for tiles of the active sequences of steps [begin, end), step by step: the
// tile's row r is sequence sequences[r] at step steps[r].
template <class Active, class Visit>
inline void for_tiles(long begin, long end, Active active, Visit visit) {
    long steps[kRows], sequences[kRows];
    int rows = 0;
    for (long s = begin; s < end; ++s) {
        for (long k = 0, count = active(s); k < count; ++k) {
            steps[rows] = s;
            sequences[rows] = k;
            if (++rows < kRows) continue;
            visit(rows, steps, sequences);
            rows = 0;
        }
    }
    if (rows) visit(rows, steps, sequences);
}

}  // namespace GLASSLSTM_ISA
}  // namespace glasslstm
