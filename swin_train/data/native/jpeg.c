#include "jpeg.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

#include "memory.h"

enum {
    MAX_SCANS = 100, /* progressive files have about ten; each costs a pass over the whole picture */
    CONTEXT = 2,     /* columns beside the region that smooth upsampling looks at */
    INDENT = 4,      /* bytes: rows that are aligned libjpeg writes around the caches, but they are read at once */
};

struct sw_jpeg {
    struct jpeg_decompress_struct info; /* libjpeg hands out pointers to the first four: never move them */
    struct jpeg_error_mgr errors;
    struct jpeg_source_mgr source;
    struct jpeg_progress_mgr progress;
    jmp_buf escape;
    int in_pixels; /* the header is read */
    sw_buffer strip;
    char message[JMSG_LENGTH_MAX];
};

static void stop(j_common_ptr info)
{
    sw_jpeg *jpeg = info->client_data;
    info->err->format_message(info, jpeg->message);
    longjmp(jpeg->escape, 1);
}

static void stop_saying(sw_jpeg *jpeg, const char *message)
{
    snprintf(jpeg->message, sizeof jpeg->message, "%s", message);
    longjmp(jpeg->escape, 1);
}

/* libjpeg goes on after damage, with grey or garbage; here only a blemish that touches no pixel is let pass. */
static void hear_message(j_common_ptr info, int level)
{
    sw_jpeg *jpeg = info->client_data;
    if (level < 0 && jpeg->in_pixels && info->err->msg_code != JWRN_EXTRANEOUS_DATA)
        stop(info);
}

static void do_nothing(j_decompress_ptr info)
{
    (void)info;
}

static boolean stop_at_end(j_decompress_ptr info)
{
    stop_saying(info->client_data, "the file ends within its picture");
    return FALSE;
}

static void skip(j_decompress_ptr info, long count)
{
    if (count <= 0)
        return;
    if ((size_t)count > info->src->bytes_in_buffer)
        stop_at_end(info);
    info->src->next_input_byte += count;
    info->src->bytes_in_buffer -= (size_t)count;
}

static void watch(j_common_ptr info)
{
    if (((j_decompress_ptr)info)->input_scan_number > MAX_SCANS)
        stop_saying(info->client_data, "it has more than 100 scans");
}

/* A decoder of its own for each picture: one that is used again keeps the last picture's tables, and a damaged
 * header would be completed by them. */
static void open_decoder(sw_jpeg *jpeg, const uint8_t *data, size_t length)
{
    jpeg->info.err = jpeg_std_error(&jpeg->errors);
    jpeg->info.client_data = jpeg;
    jpeg->errors.error_exit = stop;
    jpeg->errors.emit_message = hear_message;
    jpeg_create_decompress(&jpeg->info);
    jpeg->source = (struct jpeg_source_mgr){
        .next_input_byte = data,
        .bytes_in_buffer = length,
        .init_source = do_nothing,
        .fill_input_buffer = stop_at_end,
        .skip_input_data = skip,
        .resync_to_restart = jpeg_resync_to_restart,
        .term_source = do_nothing,
    };
    jpeg->info.src = &jpeg->source;
    jpeg->progress.progress_monitor = watch;
    jpeg->info.progress = &jpeg->progress;
}

sw_jpeg *sw_jpeg_create(void)
{
    return calloc(1, sizeof(sw_jpeg));
}

void sw_jpeg_destroy(sw_jpeg *jpeg)
{
    if (jpeg)
        sw_free(&jpeg->strip);
    free(jpeg);
}

int sw_jpeg_is_usable(void)
{
    sw_jpeg jpeg = {0};
    volatile int is_open = 0;
    if (setjmp(jpeg.escape) == 0) {
        open_decoder(&jpeg, NULL, 0);
        is_open = 1;
    }
    jpeg_destroy_decompress(&jpeg.info);
    return is_open;
}

static void read_header(sw_jpeg *jpeg, sw_box region)
{
    struct jpeg_decompress_struct *info = &jpeg->info;
    jpeg->in_pixels = 0;
    jpeg_read_header(info, TRUE);
    jpeg->in_pixels = 1;
    if (info->num_components != 1 && info->num_components != 3)
        stop_saying(jpeg, "it is neither grey nor of three colours");
    if ((uint64_t)info->image_width * info->image_height > SW_MAX_PIXELS)
        stop_saying(jpeg, "it has more than 50 million pixels");
    if (region.left < 0 || region.top < 0 || region.right <= region.left || region.bottom <= region.top ||
        (JDIMENSION)region.right > info->image_width || (JDIMENSION)region.bottom > info->image_height)
        stop_saying(jpeg, "the region does not lie inside the picture");
    info->out_color_space = JCS_EXT_RGBX;
    info->dct_method = JDCT_ISLOW;
    info->do_fancy_upsampling = TRUE;
}

/* Narrows the columns that are decoded. Where the region begins in the decoded rows. */
static int crop_columns(struct jpeg_decompress_struct *info, sw_box region)
{
    JDIMENSION left = region.left > CONTEXT ? (JDIMENSION)(region.left - CONTEXT) : 0;
    JDIMENSION right = (JDIMENSION)region.right + CONTEXT;
    JDIMENSION width = (right < info->output_width ? right : info->output_width) - left;
    if (width < info->output_width)
        jpeg_crop_scanline(info, &left, &width);
    return region.left - (int)left;
}

static void hand_over_rows(sw_jpeg *jpeg, int height, int first_column, const sw_sink *sink)
{
    struct jpeg_decompress_struct *info = &jpeg->info;
    size_t stride = ((size_t)info->output_width * 4 + SW_SLACK + 63) & ~(size_t)63;
    uint8_t *strip = sw_reserve(&jpeg->strip, stride * SW_STRIP + INDENT);
    if (strip == NULL)
        stop_saying(jpeg, "there is not enough memory");
    JSAMPROW rows[SW_STRIP];
    for (int i = 0; i < SW_STRIP; i++)
        rows[i] = strip + INDENT + (size_t)i * stride;
    for (int row = 0; row < height; row += SW_STRIP) {
        int count = height - row < SW_STRIP ? height - row : SW_STRIP;
        for (int done = 0; done < count;) {
            JDIMENSION more = jpeg_read_scanlines(info, rows + done, (JDIMENSION)(count - done));
            if (more == 0)
                stop_saying(jpeg, "the decoder stopped");
            done += (int)more;
        }
        sink->take(sink->owner, strip + INDENT + 4 * (size_t)first_column, stride, row, count);
    }
}

static void decode(sw_jpeg *jpeg, sw_box region, const sw_sink *sink)
{
    read_header(jpeg, region);
    jpeg_start_decompress(&jpeg->info);
    int first_column = crop_columns(&jpeg->info, region);
    if (region.top > 0)
        jpeg_skip_scanlines(&jpeg->info, (JDIMENSION)region.top);
    hand_over_rows(jpeg, region.bottom - region.top, first_column, sink); /* what lies below is never decoded */
}

const char *sw_jpeg_decode(sw_jpeg *jpeg, const uint8_t *data, size_t length, sw_box region, const sw_sink *sink)
{
    const char *volatile message = jpeg->message;
    if (setjmp(jpeg->escape) == 0) {
        open_decoder(jpeg, data, length);
        decode(jpeg, region, sink);
        message = NULL;
    }
    jpeg_destroy_decompress(&jpeg->info);
    sw_free_if_large(&jpeg->strip);
    return message;
}
