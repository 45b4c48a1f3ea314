// Memory that is kept from call to call. Fresh pages cost more than the arithmetic of a layer that writes them: the
// system clears each one, and is asked for it by a fault.
#pragma once

#include <stddef.h>

namespace glasslstm {

// At least `bytes` bytes, aligned to 64, with any content; it goes back to the pool with its owner. Any thread may
// make and destroy it. `contiguous` asks for it in one piece of the machine's memory too, where the system has large
// pages: pieces of 4 KiB from anywhere may crowd on a few places of a cache. Throws std::bad_alloc.
class Memory {
public:
    explicit Memory(size_t bytes, bool contiguous = false);
    ~Memory();
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;

    void* data() const { return data_; }

private:
    void* data_;
    size_t size_;
};

// How much unused memory the pool keeps: what comes back beyond it goes to the system, the oldest first.
size_t pool_limit();

// Gives all unused memory to the system.
void empty_pool();

}  // namespace glasslstm
