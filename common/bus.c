#include "common/bus.h"

#define OPS(obj) (((const struct bus_base *)(const void *)(obj))->ops)

const char *bus_result_name(enum bus_result result)
{
	static const char *const names[] = {
	    [BUS_OK] = "ok",
	    [BUS_TIMEOUT] = "timeout",
	    [BUS_UNAVAILABLE] = "unavailable",
	    [BUS_NOT_FOUND] = "not found",
	    [BUS_CONFLICT] = "conflict",
	    [BUS_FULL] = "full",
	    [BUS_REJECTED] = "rejected",
	};
	unsigned i = (unsigned)result;

	return i < sizeof(names) / sizeof(names[0]) ? names[i] : "unknown";
}

void bus_free(struct bus *bus)
{
	if (bus)
		OPS(bus)->free(bus);
}

bool bus_connected(const struct bus *bus)
{
	return OPS(bus)->connected(bus);
}

void bus_on_state(struct bus *bus, void (*fn)(void *arg, bool connected), void *arg)
{
	OPS(bus)->on_state(bus, fn, arg);
}

int bus_flush(struct bus *bus, int timeout_ms, struct error *err)
{
	return OPS(bus)->flush(bus, timeout_ms, err);
}

void bus_forget(struct bus *bus, const void *arg)
{
	OPS(bus)->forget(bus, arg);
}

const char *bus_error_text(const struct bus *bus)
{
	return OPS(bus)->error_text(bus);
}

int bus_publish(struct bus *bus, const char *subject, const void *data, size_t len,
		struct error *err)
{
	return OPS(bus)->publish(bus, subject, data, len, 0, err);
}

int bus_publish_later(struct bus *bus, const char *subject, const void *data, size_t len,
		      int within_ms, struct error *err)
{
	return OPS(bus)->publish(bus, subject, data, len, within_ms, err);
}

void bus_request(struct bus *bus, const char *subject, const void *data, size_t len, int timeout_ms,
		 bus_answer_fn *fn, void *arg)
{
	OPS(bus)->request(bus, subject, data, len, timeout_ms, fn, arg);
}

struct bus_sub *bus_subscribe(struct bus *bus, const char *subject, const char *queue,
			      bus_msg_fn *fn, void *arg, struct error *err)
{
	return OPS(bus)->subscribe(bus, subject, queue, fn, arg, err);
}

void bus_unsubscribe(struct bus_sub *sub)
{
	if (sub)
		OPS(sub)->unsubscribe(sub);
}

void bus_drain(struct bus_sub *sub)
{
	if (sub)
		OPS(sub)->drain(sub);
}

void bus_stream_ensure(struct bus *bus, const struct bus_stream_conf *conf, bus_done_fn *fn,
		       void *arg)
{
	OPS(bus)->stream_ensure(bus, conf, fn, arg);
}

void bus_store(struct bus *bus, const char *subject, const struct bus_store_opts *opts,
	       const void *data, size_t len, bus_ack_fn *fn, void *arg)
{
	OPS(bus)->store(bus, subject, opts, data, len, fn, arg);
}

void bus_get(struct bus *bus, const char *stream, uint64_t seq, bus_answer_fn *fn, void *arg)
{
	OPS(bus)->get(bus, stream, seq, fn, arg);
}

void bus_get_last(struct bus *bus, const char *stream, const char *subject, bus_answer_fn *fn,
		  void *arg)
{
	OPS(bus)->get_last(bus, stream, subject, fn, arg);
}

void bus_get_next(struct bus *bus, const char *stream, const char *subject, uint64_t seq,
		  bus_answer_fn *fn, void *arg)
{
	OPS(bus)->get_next(bus, stream, subject, seq, fn, arg);
}

void bus_stream_info(struct bus *bus, const char *stream, const char *filter, bus_info_fn *fn,
		     void *arg)
{
	OPS(bus)->stream_info(bus, stream, filter, fn, arg);
}

void bus_stream_trim(struct bus *bus, const char *stream, uint64_t seq, bus_done_fn *fn, void *arg)
{
	OPS(bus)->stream_trim(bus, stream, seq, fn, arg);
}

struct bus_consumer *bus_consumer_open(struct bus *bus, const struct bus_consumer_conf *conf,
				       bus_deliver_fn *fn, void *arg, struct error *err)
{
	return OPS(bus)->consumer_open(bus, conf, fn, arg, err);
}

void bus_consumer_want(struct bus_consumer *consumer, unsigned credit)
{
	OPS(consumer)->consumer_want(consumer, credit);
}

void bus_consumer_close(struct bus_consumer *consumer)
{
	if (consumer)
		OPS(consumer)->consumer_close(consumer);
}

void bus_consumer_remove(struct bus *bus, const char *stream, const char *durable, bus_done_fn *fn,
			 void *arg)
{
	OPS(bus)->consumer_remove(bus, stream, durable, fn, arg);
}

void bus_claim_ack(struct bus_claim *claim)
{
	OPS(claim)->claim_ack(claim);
}

void bus_claim_nak(struct bus_claim *claim, int delay_ms)
{
	OPS(claim)->claim_nak(claim, delay_ms);
}

void bus_claim_progress(struct bus_claim *claim)
{
	OPS(claim)->claim_progress(claim);
}

void bus_claim_free(struct bus_claim *claim)
{
	if (claim)
		OPS(claim)->claim_free(claim);
}

void bus_bucket_ensure(struct bus *bus, const struct bus_bucket_conf *conf, bus_done_fn *fn,
		       void *arg)
{
	OPS(bus)->bucket_ensure(bus, conf, fn, arg);
}

void bus_put(struct bus *bus, const char *bucket, const char *key, const void *data, size_t len,
	     bus_ack_fn *fn, void *arg)
{
	OPS(bus)->put(bus, bucket, key, data, len, fn, arg);
}

void bus_del(struct bus *bus, const char *bucket, const char *key, bus_ack_fn *fn, void *arg)
{
	OPS(bus)->del(bus, bucket, key, fn, arg);
}

struct bus_watch *bus_watch(struct bus *bus, const char *bucket, bus_entry_fn *fn, void *arg,
			    struct error *err)
{
	return OPS(bus)->watch(bus, bucket, fn, arg, err);
}

void bus_watch_free(struct bus_watch *watch)
{
	if (watch)
		OPS(watch)->watch_free(watch);
}
