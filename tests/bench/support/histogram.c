#include "histogram.h"

#include <string.h>

void histogram_reset(struct histogram *histogram) {
    memset(histogram, 0, sizeof *histogram);
}

/* Bucket of a value: below 128 ns one each, above by its leading 8 bits. */
static unsigned bucket_of(uint64_t value_ns) {
    if (value_ns < HISTOGRAM_STEPS)
        return (unsigned)value_ns;
    unsigned shift = 63 - (unsigned)__builtin_clzll(value_ns) - 7;
    if (shift + 1 >= HISTOGRAM_OCTAVES)
        return HISTOGRAM_OCTAVES * HISTOGRAM_STEPS - 1;
    return (shift + 1) * HISTOGRAM_STEPS + (unsigned)(value_ns >> shift) - HISTOGRAM_STEPS;
}

/* The middle of a bucket, in nanoseconds. */
static double middle_of(unsigned bucket) {
    if (bucket < HISTOGRAM_STEPS)
        return bucket;
    unsigned shift = bucket / HISTOGRAM_STEPS - 1;
    uint64_t low = (uint64_t)(bucket % HISTOGRAM_STEPS + HISTOGRAM_STEPS) << shift;
    return (double)low + (double)((uint64_t)1 << shift) / 2;
}

void histogram_add(struct histogram *histogram, uint64_t value_ns) {
    histogram->count++;
    histogram->buckets[bucket_of(value_ns)]++;
    if (value_ns > histogram->max_ns)
        histogram->max_ns = value_ns;
}

double histogram_quantile_us(const struct histogram *histogram, double fraction) {
    double wanted = fraction * (double)histogram->count;
    uint64_t seen = 0;
    for (unsigned bucket = 0; bucket < HISTOGRAM_OCTAVES * HISTOGRAM_STEPS; bucket++) {
        seen += histogram->buckets[bucket];
        if (seen > 0 && (double)seen >= wanted)
            return middle_of(bucket) / 1000.0;
    }
    return 0.0;
}
