/* A span of a file -> memory. */
#include "picture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const int64_t MAX_BYTES = (int64_t)1 << 30;

static void refuse(sw_picture *picture, int error, const char *reason)
{
    picture->state = SW_UNREADABLE;
    picture->error = error;
    picture->reason = reason;
}

/* Bytes of the span, or -1 after a refusal. */
static int64_t span_length(sw_picture *picture, int file)
{
    struct stat status;
    if (fstat(file, &status) != 0) {
        refuse(picture, errno, "cannot be read");
        return -1;
    }
    if (!S_ISREG(status.st_mode)) {
        refuse(picture, S_ISDIR(status.st_mode) ? EISDIR : 0, "it is not a regular file");
        return -1;
    }
    if (picture->is_whole && status.st_size != picture->offset + picture->length) {
        refuse(picture, 0, "the file has another length than expected");
        return -1;
    }
    int64_t rest = status.st_size > picture->offset ? status.st_size - picture->offset : 0;
    int64_t length = picture->length < 0 ? rest : picture->length;
    if (picture->offset < 0 || length > rest) {
        refuse(picture, 0, "the file ends before the picture does");
        return -1;
    }
    if (length > MAX_BYTES) {
        refuse(picture, EFBIG, "it has more than 1 GiB");
        return -1;
    }
    return length;
}

static int read_fully(int file, uint8_t *data, int64_t length, int64_t offset)
{
    for (int64_t done = 0; done < length;) {
        ssize_t count = pread(file, data + done, (size_t)(length - done), offset + done);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return errno;
        if (count == 0)
            return EIO; /* the file became shorter meanwhile */
        done += count;
    }
    return 0;
}

static void read_span(sw_picture *picture, int file)
{
    int64_t length = span_length(picture, file);
    if (length < 0)
        return;
    uint8_t *data = malloc((size_t)length + 1);
    if (data == NULL) {
        refuse(picture, ENOMEM, "cannot be read");
        return;
    }
    int error = read_fully(file, data, length, picture->offset);
    if (error) {
        free(data);
        refuse(picture, error, "cannot be read");
        return;
    }
    picture->data = data;
    picture->length = length;
    picture->kind = SW_BYTES;
    picture->is_owned = 1;
}

void sw_read(sw_picture *picture)
{
    if (picture->kind != SW_FILE)
        return;
    /* Not blocking: a named pipe in the place of a picture must not stop the run. */
    int file = open(picture->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) {
        refuse(picture, errno, "cannot be opened");
        return;
    }
    read_span(picture, file);
    close(file);
}

void sw_release_picture(sw_picture *picture)
{
    if (picture->is_owned)
        free(picture->data);
    picture->is_owned = 0;
    picture->data = NULL;
    picture->length = 0;
}
