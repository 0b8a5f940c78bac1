// The kernels, compiled once for every instruction set (DRBENCH_TABLE names the table that comes out: avx2).
//
// Everything is a product of small tiles held in registers (vector.h). A tile's rows are named by pointers, so that
// positions of one region need not lie side by side and no unfold is ever built: for a k x k filter the tile goes
// through the taps, each time with pointers to other pixels. Selection is by index, never by multiplying with a mask:
// a NaN at one position, or in one region's filter, reaches no other.
#include "backward_filters.h"
#include "backward_input.h"
#include "common.h"
#include "depthwise.h"
#include "forward.h"
#include "guide.h"
#include "layer.h"

namespace drbench {

#define DRBENCH_TEXT_OF(x) #x
#define DRBENCH_TEXT(x) DRBENCH_TEXT_OF(x)
#define DRBENCH_NAME_OF(table) table##_kernels
#define DRBENCH_NAME(table) DRBENCH_NAME_OF(table)

const Kernels DRBENCH_NAME(DRBENCH_TABLE) = {DRBENCH_TEXT(DRBENCH_TABLE),
                                             find_pixels,
                                             shared_scratch,
                                             prepare_pieces,
                                             prepare_forward,
                                             {plan_forward,
                                              forward,
                                              score_chunks,
                                              plan_backward_input,
                                              backward_input,
                                              plan_backward_filters,
                                              backward_filters},
                                             {depthwise::plan_forward,
                                              depthwise::forward,
                                              depthwise::score_chunks,
                                              depthwise::plan_backward_input,
                                              depthwise::backward_input,
                                              depthwise::plan_backward_filters,
                                              depthwise::backward_filters},
                                             depthwise::packed_size,
                                             depthwise::pack,
                                             mix_scores,
                                             sort,
                                             argmax,
                                             guide_gradient,
                                             guide_panels,
                                             pack_guide,
                                             guide,
                                             pool,
                                             coefficients};

}  // namespace drbench
