/* SPDX-License-Identifier: Apache-2.0
 * What devices exist and what they say they can do. Nothing here is trusted beyond offering a kernel to its test. */
#include "cl_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

enum { MAX_PLATFORMS = 32, MAX_DEVICES = 256, NO_PLATFORM = -1001 };

const char *clq_cl_error_name(cl_int code)
{
    static const struct {
        cl_int code;
        const char *name;
    } names[] = {
        {-1, "device not found"},
        {-2, "device not available"},
        {-3, "compiler not available"},
        {-4, "memory object allocation failure"},
        {-5, "out of resources"},
        {-6, "out of host memory"},
        {-11, "build program failure"},
        {-12, "map failure"},
        {-14, "execution status error in wait list"},
        {-15, "compile program failure"},
        {-30, "invalid value"},
        {-33, "invalid device"},
        {-34, "invalid context"},
        {-36, "invalid command queue"},
        {-38, "invalid memory object"},
        {-42, "invalid binary"},
        {-43, "invalid build options"},
        {-44, "invalid program"},
        {-45, "invalid program executable"},
        {-46, "invalid kernel name"},
        {-48, "invalid kernel"},
        {-49, "invalid argument index"},
        {-50, "invalid argument value"},
        {-51, "invalid argument size"},
        {-52, "invalid kernel arguments"},
        {-53, "invalid work dimension"},
        {-54, "invalid work-group size"},
        {-55, "invalid work-item size"},
        {-58, "invalid event"},
        {-59, "invalid operation"},
        {-61, "invalid buffer size"},
        {-63, "invalid global work size"},
        {NO_PLATFORM, "no platform"},
        {-9999, "device fault"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].code == code) return names[i].name;
    return "unknown error";
}

bool clq_cl_device_text(cl_device_id device, cl_uint what, char *out, size_t size)
{
    size_t n = 0;
    out[0] = 0;
    char *text = NULL;
    if (clGetDeviceInfo(device, what, 0, NULL, &n) != CL_SUCCESS || n == 0 || n > (1u << 20)) return false;
    text = calloc(1, n + 1);
    bool ok = text && clGetDeviceInfo(device, what, n, text, NULL) == CL_SUCCESS;
    if (ok) snprintf(out, size, "%s", text);
    free(text);
    return ok;
}

clq_status clq_cl_devices(cl_device_id **out, int *n, struct clq_error *err)
{
    cl_platform_id platforms[MAX_PLATFORMS];
    cl_uint count = 0;
    *out = NULL;
    *n = 0;
    cl_int code = clGetPlatformIDs(MAX_PLATFORMS, platforms, &count);
    if (code == NO_PLATFORM) return CLQ_OK;
    if (code != CL_SUCCESS)
        return clq_fail(err, CLQ_ERR_DEVICE, "OpenCL: clGetPlatformIDs: %s (%d)", clq_cl_error_name(code), (int)code);
    if (count > MAX_PLATFORMS) count = MAX_PLATFORMS;
    cl_device_id *all = calloc(MAX_DEVICES, sizeof *all);
    if (!all) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "OpenCL: out of memory while listing devices");
    cl_uint total = 0;
    for (cl_uint p = 0; p < count; p++) {
        cl_uint found = 0, room = MAX_DEVICES - total;
        if (room == 0) break;
        if (clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, room, all + total, &found) != CL_SUCCESS) continue;
        total += found < room ? found : room;
    }
    *out = all;
    *n = (int)total;
    return CLQ_OK;
}

void clq_cl_query_info(struct clq_cl_info *info, cl_device_id device, int index)
{
    cl_platform_id platform = NULL;
    cl_device_type type = 0;
    cl_bool unified = CL_FALSE;
    cl_uint units = 0;
    cl_ulong memory = 0, max_alloc = 0, local = 0;
    memset(info, 0, sizeof *info);
    info->index = index;
    clGetDeviceInfo(device, CL_DEVICE_PLATFORM, sizeof platform, &platform, NULL);
    if (!platform ||
        clGetPlatformInfo(platform, CL_PLATFORM_NAME, sizeof info->platform - 1, info->platform, NULL) != CL_SUCCESS)
        snprintf(info->platform, sizeof info->platform, "unknown");
    clq_cl_device_text(device, CL_DEVICE_NAME, info->name, sizeof info->name);
    clq_cl_device_text(device, CL_DEVICE_VENDOR, info->vendor, sizeof info->vendor);
    clq_cl_device_text(device, CL_DRIVER_VERSION, info->driver, sizeof info->driver);
    clq_cl_device_text(device, CL_DEVICE_VERSION, info->version, sizeof info->version);
    clGetDeviceInfo(device, CL_DEVICE_TYPE, sizeof type, &type, NULL);
    clGetDeviceInfo(device, CL_DEVICE_HOST_UNIFIED_MEMORY, sizeof unified, &unified, NULL);
    clGetDeviceInfo(device, CL_DEVICE_MAX_COMPUTE_UNITS, sizeof units, &units, NULL);
    clGetDeviceInfo(device, CL_DEVICE_GLOBAL_MEM_SIZE, sizeof memory, &memory, NULL);
    clGetDeviceInfo(device, CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof max_alloc, &max_alloc, NULL);
    clGetDeviceInfo(device, CL_DEVICE_LOCAL_MEM_SIZE, sizeof local, &local, NULL);
    info->is_cpu = (type & CL_DEVICE_TYPE_CPU) != 0;
    info->type = info->is_cpu                        ? "cpu"
                 : type & CL_DEVICE_TYPE_GPU         ? "gpu"
                 : type & CL_DEVICE_TYPE_ACCELERATOR ? "accelerator"
                                                     : "other";
    info->unified = unified == CL_TRUE;
    info->compute_units = units ? units : 1;
    info->memory = memory;
    info->max_alloc = max_alloc;
    info->local_memory = local;
}

unsigned clq_cl_query_caps(const struct clq_cl_info *info, cl_device_id device, const struct clq_cl_options *options)
{
    enum { EXTENSIONS = 16384, NV_MAJOR = 0x4000, NV_MINOR = 0x4001 };
    const unsigned vnni = CLQ_CPU_AVX512 | CLQ_CPU_VNNI;
    struct clq_cl_facts facts = {.is_cpu = info->is_cpu,
                                 .vnni = (options->cpu & clq_cpu_detect() & vnni) == vnni,
                                 .local_memory = info->local_memory,
                                 .by_name = options->only != NULL};
    cl_device_fp_config fp = 0;
    cl_uint major = 0, minor = 0;
    char *extensions = calloc(1, EXTENSIONS);
    clGetDeviceInfo(device, CL_DEVICE_SINGLE_FP_CONFIG, sizeof fp, &fp, NULL);
    clGetDeviceInfo(device, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof facts.max_group, &facts.max_group, NULL);
    facts.divide = (fp & CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT) != 0;
    facts.denorm = (fp & CL_FP_DENORM) != 0;
    if (extensions && clq_cl_device_text(device, CL_DEVICE_EXTENSIONS, extensions, EXTENSIONS))
        facts.extensions = extensions;
    if (clGetDeviceInfo(device, NV_MAJOR, sizeof major, &major, NULL) == CL_SUCCESS &&
        clGetDeviceInfo(device, NV_MINOR, sizeof minor, &minor, NULL) == CL_SUCCESS) {
        facts.nv_major = major;
        facts.nv_minor = minor;
    }
    const unsigned caps = clq_cl_capabilities(&facts);
    free(extensions);
    return caps;
}

clq_status clq_cl_list(struct clq_cl_info **out, int *n, struct clq_error *err)
{
    cl_device_id *devices = NULL;
    int count = 0;
    *out = NULL;
    *n = 0;
    CLQ_TRY(clq_cl_devices(&devices, &count, err));
    struct clq_cl_info *all = calloc((size_t)(count ? count : 1), sizeof *all);
    if (!all) {
        free(devices);
        return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "OpenCL: out of memory while listing %d devices", count);
    }
    for (int i = 0; i < count; i++) clq_cl_query_info(&all[i], devices[i], i);
    free(devices);
    *out = all;
    *n = count;
    return CLQ_OK;
}
