/* SPDX-License-Identifier: Apache-2.0
 * Single elements of every numeric type, and Cast, CastLike and BitCast on top of them. */
#include "ops/convert.h"

#include <math.h>

#include "base/parallel.h"

float clq_from_f16(uint16_t h)
{
    uint32_t sign = (uint32_t)(h >> 15) << 31, e = h >> 10 & 31, m = h & 1023, u;
    float f;
    if (e == 31)
        u = sign | 0x7f800000u | m << 13;
    else if (e != 0)
        u = sign | (e + 112) << 23 | m << 13;
    else {
        f = (float)m * 5.9604644775390625e-8f; /* m * 2^-24 */
        return h >> 15 ? -f : f;
    }
    memcpy(&f, &u, sizeof f);
    return f;
}

uint16_t clq_to_f16(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    uint32_t sign = u >> 16 & 0x8000u, mag = u & 0x7fffffffu;
    if (mag > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);
    if (mag >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* 65520 and more */
    if (mag < 0x38800000u) {                                   /* below 2^-14: counts of 2^-24 */
        float a;
        memcpy(&a, &mag, sizeof a);
        return (uint16_t)(sign | (uint32_t)rintf(a * 16777216.0f));
    }
    uint32_t r = mag - 0x38000000u, odd = r >> 13 & 1;
    return (uint16_t)(sign | (r + 0xfffu + odd) >> 13);
}

float clq_from_bf16(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

uint16_t clq_to_bf16(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(u >> 16 | 0x40u);
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1)) >> 16);
}

bool clq_is_real(clq_dtype t)
{
    return clq_op_is_float(t);
}

bool clq_is_number(clq_dtype t)
{
    return clq_is_real(t) || clq_op_is_int(t) || t == CLQ_DTYPE_BOOL || (clq_dtype_bits(t) > 0 && clq_dtype_bits(t) < 8) || clq_is_small_float(t);
}

/* Packed types: element i in bits i % per * bits of byte i / per. */
static unsigned load_packed(const clq_tensor *t, int64_t i, unsigned bits)
{
    int64_t per = 8 / (int64_t)bits;
    return ((const uint8_t *)t->data)[i / per] >> ((unsigned)(i % per) * bits) & ((1u << bits) - 1);
}

static void store_packed(const clq_tensor *t, int64_t i, unsigned bits, unsigned v)
{
    int64_t per = 8 / (int64_t)bits;
    uint8_t *b = (uint8_t *)t->data + i / per;
    unsigned shift = (unsigned)(i % per) * bits, mask = (1u << bits) - 1;
    *b = (uint8_t)((*b & ~(mask << shift)) | (v & mask) << shift);
}

int64_t clq_load_int(const clq_tensor *t, int64_t i)
{
    unsigned bits = clq_dtype_bits(t->dtype);
    if (bits >= 8) return clq_op_int_at(t, i);
    int v = (int)load_packed(t, i, bits);
    bool is_signed = t->dtype == CLQ_DTYPE_S4 || t->dtype == CLQ_DTYPE_S2;
    return is_signed && v >> (bits - 1) ? v - (1 << bits) : v;
}

double clq_load_real(const clq_tensor *t, int64_t i)
{
    switch (t->dtype) {
    case CLQ_DTYPE_F32: return (double)((const float *)t->data)[i];
    case CLQ_DTYPE_F64: return ((const double *)t->data)[i];
    case CLQ_DTYPE_F16: return (double)clq_from_f16(((const uint16_t *)t->data)[i]);
    case CLQ_DTYPE_BF16: return (double)clq_from_bf16(((const uint16_t *)t->data)[i]);
    case CLQ_DTYPE_U64: return (double)((const uint64_t *)t->data)[i];
    case CLQ_DTYPE_F4E2M1: return clq_from_small(t->dtype, load_packed(t, i, 4));
    default:
        if (clq_is_small_float(t->dtype)) return clq_from_small(t->dtype, ((const uint8_t *)t->data)[i]);
        return (double)clq_load_int(t, i);
    }
}

void clq_store_int(const clq_tensor *t, int64_t i, int64_t v)
{
    switch (t->dtype) {
    case CLQ_DTYPE_BOOL: ((uint8_t *)t->data)[i] = v != 0; break;
    case CLQ_DTYPE_U8:
    case CLQ_DTYPE_S8: ((uint8_t *)t->data)[i] = (uint8_t)v; break;
    case CLQ_DTYPE_U16:
    case CLQ_DTYPE_S16: ((uint16_t *)t->data)[i] = (uint16_t)v; break;
    case CLQ_DTYPE_U32:
    case CLQ_DTYPE_S32: ((uint32_t *)t->data)[i] = (uint32_t)v; break;
    case CLQ_DTYPE_U64:
    case CLQ_DTYPE_S64: ((uint64_t *)t->data)[i] = (uint64_t)v; break;
    case CLQ_DTYPE_U4:
    case CLQ_DTYPE_S4:
    case CLQ_DTYPE_U2:
    case CLQ_DTYPE_S2: store_packed(t, i, clq_dtype_bits(t->dtype), (unsigned)(v & 15)); break;
    default: clq_store_real(t, i, (double)v);
    }
}

static double limit_of(clq_dtype t, bool high)
{
    switch (t) {
    case CLQ_DTYPE_U8: return high ? 255.0 : 0.0;
    case CLQ_DTYPE_S8: return high ? 127.0 : -128.0;
    case CLQ_DTYPE_U16: return high ? 65535.0 : 0.0;
    case CLQ_DTYPE_S16: return high ? 32767.0 : -32768.0;
    case CLQ_DTYPE_U32: return high ? 4294967295.0 : 0.0;
    case CLQ_DTYPE_S32: return high ? 2147483647.0 : -2147483648.0;
    case CLQ_DTYPE_U4: return high ? 15.0 : 0.0;
    case CLQ_DTYPE_S4: return high ? 7.0 : -8.0;
    case CLQ_DTYPE_U2: return high ? 3.0 : 0.0;
    case CLQ_DTYPE_S2: return high ? 1.0 : -2.0;
    default: return high ? 9223372036854774784.0 : -9223372036854775808.0;
    }
}

void clq_store_code(const clq_tensor *t, int64_t i, unsigned code)
{
    if (t->dtype == CLQ_DTYPE_F4E2M1) store_packed(t, i, 4, code);
    else ((uint8_t *)t->data)[i] = (uint8_t)code;
}

void clq_store_real(const clq_tensor *t, int64_t i, double v)
{
    switch (t->dtype) {
    case CLQ_DTYPE_F32: ((float *)t->data)[i] = (float)v; return;
    case CLQ_DTYPE_F64: ((double *)t->data)[i] = v; return;
    case CLQ_DTYPE_F16: ((uint16_t *)t->data)[i] = clq_to_f16((float)v); return;
    case CLQ_DTYPE_BF16: ((uint16_t *)t->data)[i] = clq_to_bf16((float)v); return;
    case CLQ_DTYPE_BOOL: ((uint8_t *)t->data)[i] = v != 0.0; return;
    case CLQ_DTYPE_U64:
        ((uint64_t *)t->data)[i] = !(v > 0.0) ? 0 : v >= 18446744073709549568.0 ? UINT64_MAX : (uint64_t)v;
        return;
    default: break;
    }
    if (clq_is_small_float(t->dtype)) {
        clq_store_code(t, i, clq_to_small(t->dtype, (float)v, true, CLQ_ROUND_UP));
        return;
    }
    double lo = limit_of(t->dtype, false), hi = limit_of(t->dtype, true);
    if (v != v) v = 0.0;
    clq_store_int(t, i, (int64_t)(v < lo ? lo : v > hi ? hi : v));
}

void clq_store_wrapped(const clq_tensor *t, int64_t i, double v)
{
    if (!(v > -9.2e18 && v < 9.2e18)) clq_store_real(t, i, v);
    else clq_store_int(t, i, (int64_t)v);
}

void clq_clear_padding(const clq_tensor *t)
{
    size_t bytes;
    unsigned bits = clq_dtype_bits(t->dtype);
    if (bits % 8 != 0 && clq_tensor_bytes(&bytes, t) == CLQ_OK && bytes && (size_t)clq_op_count(t) * bits % 8 != 0) ((uint8_t *)t->data)[bytes - 1] = 0;
}

/* ---- Cast ---- */

struct job {
    const clq_tensor *x, *y;
    size_t n;
    bool saturate;
    enum clq_round round;
};

enum { CHUNK = 4096 }; /* a multiple of 4, so that two units never share a byte of a packed type */

static void run_general(void *state, size_t begin, size_t end, int thread)
{
    const struct job *j = state;
    bool small = clq_is_small_float(j->y->dtype), packed = clq_dtype_bits(j->y->dtype) % 8 != 0;
    bool real = clq_is_real(j->x->dtype) || clq_is_small_float(j->x->dtype) || (j->x->dtype == CLQ_DTYPE_U64 && clq_is_real(j->y->dtype));
    int64_t to = (int64_t)(end * CHUNK < j->n ? end * CHUNK : j->n);
    (void)thread;
    for (int64_t i = (int64_t)begin * CHUNK; i < to; i++) {
        if (small)
            clq_store_code(j->y, i, clq_to_small(j->y->dtype, (float)clq_load_real(j->x, i), j->saturate, j->round));
        else if (real && packed)
            clq_store_wrapped(j->y, i, clq_load_real(j->x, i));
        else if (real)
            clq_store_real(j->y, i, clq_load_real(j->x, i));
        else if (j->y->dtype == CLQ_DTYPE_F32)
            ((float *)j->y->data)[i] = (float)clq_load_int(j->x, i); /* one rounding */
        else
            clq_store_int(j->y, i, clq_load_int(j->x, i));
    }
}

static enum clq_round round_mode(const struct clq_op_call *call)
{
    const char *mode = clq_node_string(call->node, "round_mode", "up");
    return strcmp(mode, "down") == 0 ? CLQ_ROUND_DOWN : strcmp(mode, "nearest") == 0 ? CLQ_ROUND_NEAREST : CLQ_ROUND_UP;
}

#define QUICK(tx, TX, ty, TY) \
    if (x->dtype == tx && y->dtype == ty) { \
        for (int64_t i = 0; i < n; i++) ((TY *)y->data)[i] = (TY)((const TX *)x->data)[i]; \
        return CLQ_OK; \
    }

static clq_status convert(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0], *y = &call->out[0];
    int64_t n = clq_op_count(x);
    size_t bytes;
    if (x->dtype == y->dtype) {
        if (clq_tensor_bytes(&bytes, x) == CLQ_OK) memcpy(y->data, x->data, bytes);
        return CLQ_OK;
    }
    QUICK(CLQ_DTYPE_S32, int32_t, CLQ_DTYPE_F32, float)
    QUICK(CLQ_DTYPE_S64, int64_t, CLQ_DTYPE_F32, float)
    QUICK(CLQ_DTYPE_U8, uint8_t, CLQ_DTYPE_F32, float)
    QUICK(CLQ_DTYPE_BOOL, uint8_t, CLQ_DTYPE_F32, float)
    QUICK(CLQ_DTYPE_S32, int32_t, CLQ_DTYPE_S64, int64_t)
    QUICK(CLQ_DTYPE_S64, int64_t, CLQ_DTYPE_S32, int32_t)
    QUICK(CLQ_DTYPE_BOOL, uint8_t, CLQ_DTYPE_S64, int64_t)
    QUICK(CLQ_DTYPE_F32, float, CLQ_DTYPE_F64, double)
    QUICK(CLQ_DTYPE_F64, double, CLQ_DTYPE_F32, float)
    struct job j = {x, y, (size_t)n, clq_node_int(call->node, "saturate", 1) != 0, round_mode(call)};
    clq_clear_padding(y);
    clq_parallel_for(clq_op_threads(call, j.n), (j.n + CHUNK - 1) / CHUNK, run_general, &j);
    return CLQ_OK;
}

static clq_status infer_to(struct clq_op_call *call, int64_t to)
{
    if (!clq_is_number(call->in[0].dtype)) return clq_op_bad_type(call, 0);
    if (to < 1 || to > 64 || !clq_is_number((clq_dtype)to))
        return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "a cast to type %s (%lld)", clq_dtype_name((clq_dtype)to), (long long)to);
    return clq_op_set_out(call, 0, (clq_dtype)to, call->in[0].rank, call->in[0].shape);
}

clq_op_fn clq_infer_cast, clq_eval_cast, clq_infer_cast_like, clq_eval_bit_cast, clq_infer_bit_cast;

clq_status clq_infer_cast(struct clq_op_call *call)
{
    return infer_to(call, clq_node_int(call->node, "to", 0));
}

clq_status clq_infer_cast_like(struct clq_op_call *call)
{
    return infer_to(call, call->in[1].dtype);
}

clq_status clq_eval_cast(struct clq_op_call *call)
{
    return convert(call);
}

clq_status clq_infer_bit_cast(struct clq_op_call *call)
{
    int64_t to = clq_node_int(call->node, "to", 0);
    CLQ_TRY(infer_to(call, to));
    if (clq_op_size((clq_dtype)to) == 0 || clq_op_size((clq_dtype)to) != clq_op_size(call->in[0].dtype))
        return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "a bit cast between types of different size");
    return CLQ_OK;
}

clq_status clq_eval_bit_cast(struct clq_op_call *call)
{
    memcpy(call->out[0].data, call->in[0].data, (size_t)clq_op_count(&call->in[0]) * clq_op_size(call->in[0].dtype));
    return CLQ_OK;
}
