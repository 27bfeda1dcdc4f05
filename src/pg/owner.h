/*
 * owner.h - work on the tables as their owner
 */
#ifndef AT402_OWNER_H
#define AT402_OWNER_H

#include "postgres_ext.h"

/* Who owns a table of schema at402; InvalidOid where there is none. */
extern Oid	at402_owner_of(const char *name);

/* Who owns the tables: the owner of at402.position. */
extern Oid	at402_tables_owner(void);

typedef struct At402Caller
{
	bool		switched;		/* the rest is set */
	Oid			user;
	int			context;
	int			guc_level;
} At402Caller;

/*
 * From here on the current user is this role, in a security-restricted operation.
 * For statements of ours: whether the caller may act for the role is not asked.
 */
extern At402Caller at402_become(Oid role);

/*
 * From here on the current user is the owner of at402.position, in a
 * security-restricted operation, where the caller is a superuser or another
 * member of that role; else nothing changes.  An error that ends the
 * (sub)transaction undoes it.
 */
extern At402Caller at402_become_owner(void);
extern void at402_become_caller(const At402Caller *caller);

#endif							/* AT402_OWNER_H */
