/* SPDX-License-Identifier: Apache-2.0
 * A library that calls itself onnxruntime: too old, without a version, or with an empty table, as it was built. */
#include <stddef.h>
#include <stdint.h>

struct base {
    const void *const *(*table)(uint32_t version);
    const char *(*version)(void);
};

static const void *const *table(uint32_t version)
{
    static const void *const empty[200];
    (void)version;
    return STUB_TABLE ? empty : NULL;
}

static const char *version(void)
{
    return STUB_VERSION;
}

const struct base *OrtGetApiBase(void);
const struct base *OrtGetApiBase(void)
{
    static const struct base b = {table, version};
    return &b;
}
