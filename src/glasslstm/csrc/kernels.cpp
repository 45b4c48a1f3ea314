// The kernels for one instruction set: compiled once for each, with GLASSLSTM_ISA as its name.
#include "backward.h"
#include "forward.h"
#include "step.h"

namespace glasslstm {
namespace GLASSLSTM_ISA {

template <class T>
constexpr Functions<T> functions() {
    return {forward_bytes<T>, forward<T>, backward_bytes<T>, backward<T>,
            packed_size<T>,   pack<T>,    step_bytes<T>,     step<T>};
}

}  // namespace GLASSLSTM_ISA

#define GLASSLSTM_TEXT(name) GLASSLSTM_TEXT_OF(name)
#define GLASSLSTM_TEXT_OF(name) #name
#define GLASSLSTM_TABLE(name) GLASSLSTM_TABLE_OF(name)
#define GLASSLSTM_TABLE_OF(name) kernels_##name

extern const Kernels GLASSLSTM_TABLE(GLASSLSTM_ISA);
const Kernels GLASSLSTM_TABLE(GLASSLSTM_ISA) = {GLASSLSTM_TEXT(GLASSLSTM_ISA), GLASSLSTM_ISA::functions<float>(),
                                                GLASSLSTM_ISA::functions<double>()};

}  // namespace glasslstm
