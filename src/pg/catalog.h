/*
 * catalog.h - what is looked up in the catalogue
 */
#ifndef AT402_CATALOG_H
#define AT402_CATALOG_H

#include "postgres_ext.h"

/* Schema of an extension's objects; ERROR 42704 when it does not exist. */
extern Oid	at402_extension_schema(const char *name);

/* The same as a name, quoted where need be. */
extern const char *at402_schema_name(const char *extension);

/* Does a table have rules?  Then ON CONFLICT and INSERT in WITH are refused. */
extern bool at402_has_rules(const char *table);

#endif							/* AT402_CATALOG_H */
