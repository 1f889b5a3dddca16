#include "pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

/* One call of sw_pool_run; it lives on the caller's stack. */
typedef struct sw_task {
    sw_work work;
    void *batch;
    int count, next, finished;
    pthread_cond_t is_done;
    struct sw_task *following;
} sw_task;

typedef struct {
    sw_pool *pool;
    sw_context context;
    pthread_t thread;
} sw_worker;

struct sw_pool {
    pthread_mutex_t lock;
    pthread_cond_t has_work;
    sw_task *first, *last; /* those with items that no thread has taken */
    int is_closing;
    int num_workers;
    sw_worker *workers;
};

/* The next item of the oldest task, or NULL when the pool closes. The lock is held. */
static sw_task *take_item(sw_pool *pool, int *item)
{
    while (pool->first == NULL && !pool->is_closing)
        pthread_cond_wait(&pool->has_work, &pool->lock);
    sw_task *task = pool->first;
    if (task == NULL)
        return NULL;
    *item = task->next++;
    if (task->next == task->count) {
        pool->first = task->following;
        if (pool->first == NULL)
            pool->last = NULL;
    }
    return task;
}

static void *work_on(void *own)
{
    sw_worker *self = own;
    sw_pool *pool = self->pool;
    int item = 0;
    pthread_mutex_lock(&pool->lock);
    for (sw_task *task; (task = take_item(pool, &item)) != NULL;) {
        pthread_mutex_unlock(&pool->lock);
        task->work(task->batch, item, &self->context);
        pthread_mutex_lock(&pool->lock);
        if (++task->finished == task->count)
            pthread_cond_signal(&task->is_done);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* Starts a worker; 0, or an error number. */
static int start(sw_pool *pool, sw_worker *worker, int simd)
{
    worker->pool = pool;
    if (sw_context_open(&worker->context, simd) != 0)
        return ENOMEM;
    int error = pthread_create(&worker->thread, NULL, work_on, worker);
    if (error)
        sw_context_close(&worker->context);
    return error;
}

static int start_all(sw_pool *pool, int num_threads, int simd)
{
    /* Signals are for the caller's threads: a handler of the interpreter must not run in one of these. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = 0;
    while (pool->num_workers < num_threads && !error) {
        error = start(pool, &pool->workers[pool->num_workers], simd);
        pool->num_workers += !error;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

sw_pool *sw_pool_create(int num_threads, int simd)
{
    sw_pool *pool = calloc(1, sizeof *pool);
    sw_worker *workers = calloc((size_t)num_threads, sizeof *workers);
    if (pool == NULL || workers == NULL) {
        free(pool);
        free(workers);
        errno = ENOMEM;
        return NULL;
    }
    pool->workers = workers;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->has_work, NULL);
    int error = start_all(pool, num_threads, simd);
    if (error) {
        sw_pool_destroy(pool);
        errno = error;
        return NULL;
    }
    return pool;
}

void sw_pool_destroy(sw_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->is_closing = 1;
    pthread_cond_broadcast(&pool->has_work);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->num_workers; i++) {
        pthread_join(pool->workers[i].thread, NULL);
        sw_context_close(&pool->workers[i].context);
    }
    pthread_cond_destroy(&pool->has_work);
    pthread_mutex_destroy(&pool->lock);
    free(pool->workers);
    free(pool);
}

void sw_pool_run(sw_pool *pool, sw_work work, void *batch, int count)
{
    if (count <= 0)
        return;
    sw_task own = {.work = work, .batch = batch, .count = count};
    pthread_cond_init(&own.is_done, NULL);
    pthread_mutex_lock(&pool->lock);
    if (pool->last)
        pool->last->following = &own;
    else
        pool->first = &own;
    pool->last = &own;
    pthread_cond_broadcast(&pool->has_work);
    while (own.finished < own.count)
        pthread_cond_wait(&own.is_done, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
    pthread_cond_destroy(&own.is_done);
}
