/* A libnvidia-ml.so.1 for tests: the devices are those that a text file lists.
 *
 * $FAKE_NVML names the file; one device per line:
 *     UUID  model-without-spaces  memory-in-MiB  used-in-MiB  compute-%  memory-%
 * A compute-% of "-" means that the device does not count utilisation (as one split by MIG).
 * A missing file: the driver is not loaded. Read anew at each call, so a test can change it.
 *
 * Only what pynvml calls for lading.host.gpus is here. Values: nvml.h of CUDA 12.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, DRIVER_NOT_LOADED = 9 };
enum { MOST = 16 };

struct device {
    char uuid[96], model[96], compute[16];
    unsigned long long total, used;
    unsigned memory;
};
struct memory { unsigned long long total, free, used; };
struct utilization { unsigned gpu, memory; };

static struct device devices[MOST];

static int load(void) {
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    int count = 0;
    if (!file) return -1;
    while (count < MOST) {
        struct device *d = &devices[count];
        if (fscanf(file, "%95s %95s %llu %llu %15s %u", d->uuid, d->model, &d->total, &d->used,
                   d->compute, &d->memory) != 6) break;
        count++;
    }
    fclose(file);
    return count;
}

int nvmlInitWithFlags(unsigned flags) { (void)flags; return load() < 0 ? DRIVER_NOT_LOADED : OK; }
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return OK; }

const char *nvmlErrorString(int code) {
    switch (code) {
    case OK: return "Success";
    case INVALID_ARGUMENT: return "Invalid Argument";
    case NOT_SUPPORTED: return "Not Supported";
    case NOT_FOUND: return "Not Found";
    case DRIVER_NOT_LOADED: return "Driver Not Loaded";
    default: return "Unknown Error";
    }
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    int found = load();
    if (found < 0) return DRIVER_NOT_LOADED;
    *count = (unsigned)found;
    return OK;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, struct device **handle) {
    int found = load();
    if (found < 0 || index >= (unsigned)found) return INVALID_ARGUMENT;
    *handle = &devices[index];
    return OK;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, struct device **handle) {
    int found = load();
    for (int i = 0; i < found; i++)
        if (!strcmp(devices[i].uuid, uuid)) { *handle = &devices[i]; return OK; }
    return NOT_FOUND;
}

static int copy(const char *from, char *to, unsigned length) {
    snprintf(to, length, "%s", from);
    return OK;
}

int nvmlDeviceGetUUID(struct device *d, char *to, unsigned n) { return copy(d->uuid, to, n); }

int nvmlDeviceGetName(struct device *d, char *to, unsigned n) { return copy(d->model, to, n); }

int nvmlDeviceGetMemoryInfo(struct device *d, struct memory *info) {
    info->total = d->total << 20;
    info->used = d->used << 20;
    info->free = info->total - info->used;
    return OK;
}

int nvmlDeviceGetUtilizationRates(struct device *d, struct utilization *rates) {
    if (!strcmp(d->compute, "-")) return NOT_SUPPORTED;
    rates->gpu = (unsigned)atoi(d->compute);
    rates->memory = d->memory;
    return OK;
}
