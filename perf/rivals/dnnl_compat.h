/* SPDX-License-Identifier: Apache-2.0
 * What differs between the C interfaces of oneDNN 2 and 3 in the calls of dnnl_runner.c. */
#ifndef CLQ_PERF_RIVALS_DNNL_COMPAT_H
#define CLQ_PERF_RIVALS_DNNL_COMPAT_H

#include <stdbool.h>
#include <stdlib.h>

#include <oneapi/dnnl/dnnl.h>

/* A convolution, or a matrix product where is_conv is false; scales are per output channel, whose dimension of the weights
 * (of the result, for version 2) the mask names. */
struct dnnl_layer {
    bool is_conv;
    dnnl_dims_t strides, dilates, before, behind;
    int weight_mask, result_mask;
    const float *scales; /* or NULL */
    int channels;
};

#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t dnnl_md;

static dnnl_md dnnl_md_make(int n, const dnnl_dims_t dims, dnnl_data_type_t type, dnnl_format_tag_t tag)
{
    dnnl_memory_desc_t md = NULL;
    return dnnl_memory_desc_create_with_tag(&md, n, dims, type, tag) == dnnl_success ? md : NULL;
}

enum { DNNL_SCALES_OF_WEIGHTS = DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS }; /* an argument of the run */

static dnnl_status_t dnnl_layer_create(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const struct dnnl_layer *l, const dnnl_md md[4])
{
    dnnl_primitive_attr_t attr = NULL;
    dnnl_status_t st = dnnl_primitive_attr_create(&attr);
    if (st == dnnl_success && l->scales) st = dnnl_primitive_attr_set_scales_mask(attr, DNNL_ARG_WEIGHTS, l->weight_mask);
    if (st == dnnl_success && l->is_conv)
        st = dnnl_convolution_forward_primitive_desc_create(pd, engine, dnnl_forward_inference, dnnl_convolution_direct, md[0], md[1], md[2], md[3], l->strides,
                                                            l->dilates, l->before, l->behind, attr);
    else if (st == dnnl_success)
        st = dnnl_matmul_primitive_desc_create(pd, engine, md[0], md[1], md[2], md[3], attr);
    dnnl_primitive_attr_destroy(attr);
    return st;
}
#else
typedef const dnnl_memory_desc_t *dnnl_md;

static dnnl_md dnnl_md_make(int n, const dnnl_dims_t dims, dnnl_data_type_t type, dnnl_format_tag_t tag)
{
    dnnl_memory_desc_t *md = malloc(sizeof *md);
    return md && dnnl_memory_desc_init_by_tag(md, n, dims, type, tag) == dnnl_success ? md : NULL;
}

enum { DNNL_SCALES_OF_WEIGHTS = 0 }; /* they are in the attributes, and the bias is added before them */

static dnnl_status_t dnnl_layer_create(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const struct dnnl_layer *l, const dnnl_md md[4])
{
    dnnl_primitive_attr_t attr = NULL;
    dnnl_convolution_desc_t conv;
    dnnl_matmul_desc_t product;
    dnnl_status_t st = dnnl_primitive_attr_create(&attr);
    if (st == dnnl_success && l->scales) st = dnnl_primitive_attr_set_output_scales(attr, l->channels, l->result_mask, l->scales);
    if (st == dnnl_success && l->is_conv)
        st = dnnl_dilated_convolution_forward_desc_init(&conv, dnnl_forward_inference, dnnl_convolution_direct, md[0], md[1], md[2], md[3], l->strides, l->dilates,
                                                        l->before, l->behind);
    else if (st == dnnl_success)
        st = dnnl_matmul_desc_init(&product, md[0], md[1], md[2], md[3]);
    if (st == dnnl_success) st = dnnl_primitive_desc_create(pd, l->is_conv ? (const void *)&conv : (const void *)&product, attr, engine, NULL);
    dnnl_primitive_attr_destroy(attr);
    return st;
}
#endif

#endif
