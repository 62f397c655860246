#include "services/edge/forms.h"

#include <assert.h>
#include <stdlib.h>

#include "services/edge/frames.h"
#include "services/edge/sse.h"

#define RSV1 0x40

static struct frame *like(const struct frame *f, enum ws_opcode opcode, const void *payload,
			  size_t len)
{
	struct frame *out = frame_new((enum frame_kind)f->kind, opcode, payload, len);

	out->offset = f->offset;
	out->prev = f->prev;
	return out;
}

static struct frame *protobuf(const struct frame *f)
{
	struct frame_buf b = {.encoding = ENCODING_PROTOBUF};
	struct frame *out;

	frames_protobuf(&b, (struct slice){f->data + f->header, f->len - f->header});
	out = like(f, WS_BINARY, b.b.data, b.b.len);
	strbuf_done(&b.b);
	return out;
}

/* The same frame if it is too short or would not become shorter. */
static struct frame *deflated(struct frame *f, struct deflater *d)
{
	size_t len = f->len - f->header, n;
	struct frame *out;
	char *packed;

	if (len < d->threshold)
		return f;
	packed = xmalloc(len);
	n = deflater_pack(d, f->data + f->header, len, packed, len);
	out = n ? like(f, f->data[0] & 0x0f, packed, n) : f;
	free(packed);
	if (out != f)
		out->data[0] = (char)(out->data[0] | RSV1);
	return out;
}

static struct frame *have(struct frame *f, unsigned form)
{
	return form ? atomic_load_explicit(&f->forms[form - 1], memory_order_acquire) : f;
}

/* Gives it away; what others have published meanwhile stays. */
static void publish(struct frame *f, unsigned form, struct frame *made, const struct frame *plain)
{
	struct frame *none = NULL;

	if (!atomic_compare_exchange_strong_explicit(&f->forms[form - 1], &none, made,
						     memory_order_acq_rel, memory_order_acquire) &&
	    made != plain)
		free(made);
}

void frame_form(struct frame *f, unsigned form, struct deflater *d)
{
	unsigned base = form & FORM_PROTOBUF;

	assert(f);
	if (have(f, form))
		return;
	if (!have(f, base))
		publish(f, base, protobuf(f), NULL);
	if (form & FORM_DEFLATED)
		publish(f, form, deflated(have(f, base), d), have(f, base));
}

void frame_event(struct frame *f, const char *epoch)
{
	struct strbuf b = {0};
	struct frame *event;

	if (have(f, FORM_EVENT))
		return;
	sse_event(&b, f->data + f->header, f->len - f->header, epoch, f->offset);
	event = frame_new_raw((enum frame_kind)f->kind, b.data, b.len);
	event->offset = f->offset;
	event->prev = f->prev;
	strbuf_done(&b);
	publish(f, FORM_EVENT, event, NULL);
}
