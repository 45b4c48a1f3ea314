#include "pool.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <mutex>
#include <new>
#include <vector>

namespace glasslstm {
namespace {

struct Block {
    void* data;
    size_t size;
};

constexpr size_t kHuge = size_t(2) << 20;

// Pages of 2 MiB where the system has them and the block fills some, or where it must be contiguous.
Block map(size_t bytes, bool contiguous) {
    const size_t unit = bytes >= 2 * kHuge || (contiguous && bytes >= kHuge / 16) ? kHuge : 4096, size = (bytes + unit - 1) / unit * unit;
    void* const found = mmap(nullptr, size + unit, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (found == MAP_FAILED) throw std::bad_alloc();
    char* const start = static_cast<char*>(found);
    const size_t head = (unit - reinterpret_cast<uintptr_t>(start) % unit) % unit;
    if (head) munmap(start, head);
    munmap(start + head + size, unit - head);
#if defined(MADV_HUGEPAGE)
    if (unit == kHuge) madvise(start + head, size, MADV_HUGEPAGE);
#endif
    return {start + head, size};
}

// Never destroyed: tensors may outlive everything else. In a child process whose parent forked while another thread
// held it, the lock is never free again; then there is no pool.
struct Pool {
    std::mutex lock;
    std::vector<Block> unused;  // the oldest first
    size_t size = 0;
};

Pool& pool() {
    static Pool* const instance = new Pool;
    return *instance;
}

}  // namespace

size_t pool_limit() {
    static const size_t limit = [] {
        const size_t memory = size_t(sysconf(_SC_PHYS_PAGES)) * size_t(sysconf(_SC_PAGE_SIZE));
        const size_t share = memory / 16, most = size_t(1) << 30;
        return share < most ? share : most;
    }();
    return limit;
}

Memory::Memory(size_t bytes, bool contiguous) {
    Pool& shared = pool();
    if (const std::unique_lock<std::mutex> lock(shared.lock, std::try_to_lock); lock) {
        size_t best = shared.unused.size();
        for (size_t k = 0; k < shared.unused.size(); ++k) {
            const size_t size = shared.unused[k].size;
            if (size < bytes || size > 2 * bytes + (contiguous ? kHuge : 4096)) continue;
            if (contiguous && bytes >= kHuge / 16 && size % kHuge) continue;
            if (best == shared.unused.size() || size < shared.unused[best].size) best = k;
        }
        if (best < shared.unused.size()) {
            data_ = shared.unused[best].data;
            size_ = shared.unused[best].size;
            shared.size -= size_;
            shared.unused.erase(shared.unused.begin() + long(best));
            return;
        }
    }
    const Block block = map(bytes, contiguous);
    data_ = block.data;
    size_ = block.size;
}

Memory::~Memory() {
    Pool& shared = pool();
    const std::unique_lock<std::mutex> lock(shared.lock, std::try_to_lock);
    if (!lock || size_ > pool_limit()) {
        munmap(data_, size_);
        return;
    }
    shared.unused.push_back({data_, size_});
    shared.size += size_;
    while (shared.size > pool_limit()) {
        const Block oldest = shared.unused.front();
        munmap(oldest.data, oldest.size);
        shared.size -= oldest.size;
        shared.unused.erase(shared.unused.begin());
    }
}

void empty_pool() {
    Pool& shared = pool();
    const std::lock_guard<std::mutex> lock(shared.lock);
    for (const Block& block : shared.unused) munmap(block.data, block.size);
    shared.unused.clear();
    shared.size = 0;
}

}  // namespace glasslstm
