/* A log-linear histogram of durations (as HdrHistogram): 128 steps an octave, so a value is off by less than 0.8 %. */
#ifndef LOADGEN_HISTOGRAM_H
#define LOADGEN_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEPS 128
#define HISTOGRAM_OCTAVES 34 /* up to 2^40 ns, 18 minutes; longer values count as that */

struct histogram {
    uint64_t count;
    uint64_t max_ns;
    uint64_t buckets[HISTOGRAM_OCTAVES * HISTOGRAM_STEPS];
};

/* Forgets everything. */
void histogram_reset(struct histogram *histogram);

/* Counts one duration in nanoseconds. */
void histogram_add(struct histogram *histogram, uint64_t value_ns);

/* The duration in microseconds that `fraction` (0 to 1) of the values do not exceed; 0 when there are none. */
double histogram_quantile_us(const struct histogram *histogram, double fraction);

#endif
