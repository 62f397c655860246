#include "services/edge/principal.h"

#include <stdlib.h>
#include <string.h>

#include "services/edge/conn.h"

/* --- shared by sessions ------------------------------------------------------------------- */

static uint64_t hash_of(const struct auth_identity *who)
{
	uint64_t h = table_hash2(who->tenant, who->id);

	/* One subject has as many principals as it has tokens that differ. */
	if (auth_is_jwt(who->id))
		h ^= permit_hash(who->permit) ^
		     (uint64_t)who->expires_us * UINT64_C(0x9e3779b97f4a7c15);
	return h;
}

static bool same(const void *item, const void *key)
{
	const struct principal *p = item;
	const struct auth_identity *who = key;

	return !strcmp(p->id, who->id) && !strcmp(p->tenant, who->tenant) &&
	       (!auth_is_jwt(p->id) ||
		(p->expires_us == who->expires_us && permit_same(p->permit, who->permit)));
}

/* Takes the permit over. */
static void set_rights(struct reactor *r, struct principal *p, unsigned scopes, int64_t expires_us,
		       struct permit *permit)
{
	permit_unref(p->permit);
	p->permit = permit;
	p->scopes = scopes;
	p->expires_us = expires_us;
	p->expire_at_us =
	    expires_us ? loop_now_us(r->loop) + (expires_us - loop_wall_us(r->loop)) : 0;
}

struct principal *principal_take(struct reactor *r, struct auth_identity *who,
				 struct usage_tenant *usage)
{
	uint64_t hash = hash_of(who);
	struct principal *p = table_find(&r->principals, hash, same, who);
	size_t len = strlen(who->id) + 1;

	if (!p) {
		p = xcalloc(1, sizeof(*p) + len);
		p->hash = hash;
		memcpy(p->tenant, who->tenant, sizeof(p->tenant));
		p->id = memcpy(p + 1, who->id, len);
		p->usage = usage;
		table_add(&r->principals, hash, p);
	} else {
		usage_release(usage); /* it has one of the same */
	}
	set_rights(r, p, who->scopes, who->expires_us, who->permit);
	who->permit = NULL;
	p->refs++;
	return p;
}

void principal_drop(struct reactor *r, struct principal *p)
{
	if (!p || --p->refs)
		return;
	table_remove(&r->principals, p->hash, p);
	known_forget(&r->known, p);
	permit_unref(p->permit);
	usage_release(p->usage);
	free(p);
}

/* --- when the configuration changes ------------------------------------------------------- */

struct revocation {
	struct loop_post post;
	struct reactor *reactor;
	unsigned code, scopes;
	int64_t expires_us;
	struct permit *permit;
	char tenant[TENANT_MAX + 1], key[TENANT_MAX + 1], signing[TENANT_MAX + 1];
};

static void end_session(struct conn *c, unsigned code)
{
	struct session_step *step = &c->reactor->step;
	bool tenant = code == CLOSE_TENANT;

	session_step_reset(step, &c->session);
	if (c->session.state != SESSION_CLOSING)
		frames_error(
		    &step->text, NULL,
		    &(struct frame_error){.code = tenant ? "forbidden" : "unauthenticated",
					  .message = tenant ? "the tenant is suspended"
							    : "the token is not valid any more",
					  .scope = tenant ? "tenant" : NULL});
	session_close(&c->session, code, tenant ? "tenant disabled" : "token", step);
	conn_apply(c, step);
}

static bool is_meant(const struct revocation *v, const struct principal *p)
{
	if (*v->tenant && strcmp(p->tenant, v->tenant) != 0)
		return false;
	if (*v->key)
		return !strcmp(p->id, v->key);
	return !*v->signing || auth_signed_by(p->id, v->signing);
}

static void change_session(const struct revocation *v, struct conn *c)
{
	struct session_step *step = &c->reactor->step;

	set_rights(c->reactor, c->principal, v->scopes, v->expires_us, permit_ref(v->permit));
	session_step_reset(step, &c->session);
	conn_apply(c, step); /* arms its timer */
}

static void on_revocation(struct loop_post *post)
{
	struct revocation *v = (struct revocation *)post;
	struct conn *next;

	known_forget(&v->reactor->known, NULL);
	for (struct conn *c = v->reactor->conns; c; c = next) {
		next = c->next;
		if (!c->principal || !is_meant(v, c->principal))
			continue;
		if (v->code)
			end_session(c, v->code);
		else
			change_session(v, c);
	}
	permit_unref(v->permit);
	free(v);
}

static void copy_name(char *out, const char *name)
{
	strncpy(out, name ? name : "", TENANT_MAX);
}

void principal_revoke(struct reactor *r, const struct revoke *what)
{
	struct revocation *v = xcalloc(1, sizeof(*v));

	v->post.fn = on_revocation;
	v->reactor = r;
	v->code = what->code;
	copy_name(v->tenant, what->tenant);
	copy_name(v->key, what->key);
	copy_name(v->signing, what->signing);
	if (what->rights) {
		v->scopes = what->rights->scopes;
		v->expires_us = what->rights->expires_us;
		v->permit = permit_ref(what->rights->permit);
	}
	loop_post(r->loop, &v->post);
}
