/*
 * event_image.h - a domain's events as of one moment, to be given to a fork
 * and given back to it at each reset.
 *
 * Ports keep their numbers and their kind; one that was bound to another
 * domain's is unbound in the image, for that domain to bind anew: its peer has
 * one end only. The shared page, with what is pending and masked, is copied;
 * so are the timers, in absolute time: what is due by then fires at once.
 * Owner: whoever asked for it. The vCPUs of both domains are stopped.
 */
#pragma once

#include <quire/event.h>

struct evtchn_image;

/** evtchn_save() - NULL: no memory. */
struct evtchn_image *must_check evtchn_save(struct evtchn_domain *e);
void evtchn_image_free(struct evtchn_image *image);

/**
 * evtchn_restore() - give @e, which has as many vCPUs and no open port, the
 * image's ports, callback and timers. -ENOMEM only where @e has never had as
 * many ports: nothing changed. Its shared page is not touched.
 */
int must_check evtchn_restore(struct evtchn_domain *e,
                              const struct evtchn_image *image);
/** evtchn_restore_page() - the shared page's contents. */
void evtchn_restore_page(struct evtchn_domain *e,
                         const struct evtchn_image *image);

/** evtchn_info_page() - where @v's vcpu_info is if it was moved: its frame and
 *  *@offset (bytes); NULL: in the shared page. */
struct frame *evtchn_info_page(struct vcpu *v, unsigned *offset);
/** evtchn_place_info() - @v's vcpu_info is at @offset of @frame, with what is
 *  there; a reference and a type reference are taken over. -ESRCH, -EBUSY. */
int must_check evtchn_place_info(struct vcpu *v, struct frame *frame,
                                 unsigned offset);
/** evtchn_unplace_info() - back in the shared page; both are dropped. */
void evtchn_unplace_info(struct vcpu *v);
