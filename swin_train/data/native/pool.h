/* Threads that outlive batches. Any number of callers may hand in batches at a time; they are worked off in order. */
#ifndef SW_POOL_H
#define SW_POOL_H

#include "view.h"

typedef struct sw_pool sw_pool;
typedef void (*sw_work)(void *batch, int item, sw_context *context);

/* simd: a level of simd.h that is not exceeded. NULL: the threads or what they need cannot be had; errno says why. */
sw_pool *sw_pool_create(int num_threads, int simd);

/* Waits for the batches in work. The process that made the pool must call it, once. */
void sw_pool_destroy(sw_pool *pool);

/* Calls work(batch, 0 .. count - 1) in the threads and returns when all calls have. */
void sw_pool_run(sw_pool *pool, sw_work work, void *batch, int count);

#endif
