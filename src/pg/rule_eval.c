/*
 * rule_eval.c - the code of a rule's owner is run
 *
 * All conditions of a group are one statement, which is planned once.  It runs
 * as the owner, in a security-restricted operation, in a subtransaction that may
 * not write and is undone in any case: what is left of it are the values.
 *
 * Each condition stands behind a parameter of its own, $5 AND (condition).  A
 * parameter is asked for when it is needed, so at that moment it is known whose
 * condition comes next.  That names the culprit when one raises or hangs, and
 * lets the same plan run without it.  (On Citus other servers evaluate them, so nobody
 * knows.)
 *
 * Time is limited by a timeout that cancels, again and again.  Who swallows two
 * cancels (plpgsql can) is ended together with the process; on the way out the
 * rule is switched off, so that it does not come again.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "tcop/dest.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "pg/attempt.h"
#include "pg/rule_eval.h"
#include "pg/settings.h"
#include "pg/statements.h"

#define PLAN_MS 5				/* more time for each rule that is to be planned */
#define CANCELS 2				/* that may be swallowed */

int
at402_compare_keys(const At402Key *a, const At402Key *b)
{
	if (a->device_id != b->device_id)
		return a->device_id < b->device_id ? -1 : 1;
	if (a->time != b->time)
		return a->time < b->time ? -1 : 1;
	if (a->seq != b->seq)
		return a->seq < b->seq ? -1 : 1;
	return a->content_hash < b->content_hash ? -1 : a->content_hash > b->content_hash;
}

/* ---- the limit ---- */

static TimeoutId limit = MAX_TIMEOUTS;	/* not registered yet */
static volatile sig_atomic_t strikes;	/* of the timeout, since it was set */
static volatile sig_atomic_t cancelled; /* by somebody else, since then */
static pqsigfunc handle_sigint; /* of the process, which decides what a cancel is */
static volatile int running;	/* id of the rule whose code is run; 0: none */
static volatile int hung;		/* id of the rule that did not let itself be cancelled */
static TimestampTz batch_limit; /* the limit of the batch, which rests meanwhile; 0: none */
static TimestampTz limited_since;

static void
strike(void)
{
	strikes++;
	InterruptPending = true;
	if (strikes <= CANCELS)
		QueryCancelPending = true;
	else
	{
		hung = running;
		ProcDiePending = true;
	}
	SetLatch(MyLatch);
}

/* The error of a cancel looks like one that a rule may raise by itself. */
static void
note_cancel(SIGNAL_ARGS)
{
	handle_sigint(postgres_signal_arg);
	cancelled |= QueryCancelPending;
}

static void
switch_off(void *unused)
{
	Oid			types[] = {INT4OID};
	Datum		args[] = {Int32GetDatum(hung)};

	SPI_connect();
	SPI_execute_with_args("UPDATE at402.rule SET enabled = false, "
						  "  last_error = 'did not let itself be cancelled' "
						  "WHERE id OPERATOR(pg_catalog.=) (SELECT x.id FROM at402.rule AS x "
						  "  WHERE x.id OPERATOR(pg_catalog.=) $1 FOR NO KEY UPDATE SKIP LOCKED)",
						  1, types, args, NULL, false, 0);
	SPI_finish();
}

static void
leave(int code, Datum unused)
{
	ErrorData  *error;

	if (hung == 0)
		return;
	AbortOutOfAnyTransaction();
	ereport(LOG, errmsg("at402 switches off rule %d: it did not let itself be cancelled", hung));
	if (!at402_attempt(AT402_TRANSACTION, switch_off, NULL, &error))
		ereport(LOG, errmsg("at402 could not switch off rule %d: %s", hung, error->message));
}

static void
begin_limit(int limit_ms)
{
	if (limit == MAX_TIMEOUTS)
	{
		limit = RegisterTimeout(USER_TIMEOUT, strike);
		handle_sigint = pqsignal(SIGINT, note_cancel);
		before_shmem_exit(leave, (Datum) 0);
	}
	strikes = 0;
	cancelled = false;
	CHECK_FOR_INTERRUPTS();		/* a cancel that is pending would be taken for the rule's */
	batch_limit = 0;
	limited_since = GetCurrentTimestamp();
	/* a rule's time is not the batch's, which would be to blame for it */
	if (MyBackendType == B_BG_WORKER && get_timeout_active(STATEMENT_TIMEOUT))
	{
		batch_limit = get_timeout_finish_time(STATEMENT_TIMEOUT);
		disable_timeout(STATEMENT_TIMEOUT, false);
	}
	if (limit_ms > 0)
		enable_timeout_every(limit, TimestampTzPlusMilliseconds(limited_since, limit_ms),
							 limit_ms);
}

static void
end_limit(void)
{
	disable_timeout(limit, false);
	running = 0;
	if (strikes > 0)
		QueryCancelPending = false;
	if (batch_limit != 0)
		enable_timeout_at(STATEMENT_TIMEOUT,
						  batch_limit + (GetCurrentTimestamp() - limited_since));
}

/* What went wrong, for people; raises a cancel that was not ours. */
static const char *
explain(ErrorData *error, bool *timed_out)
{
	bool		is_cancel = error->sqlerrcode == ERRCODE_QUERY_CANCELED;

	if (is_cancel && cancelled && strikes == 0)
		ReThrowError(error);
	*timed_out = is_cancel && strikes > 0;
	if (*timed_out)
		return psprintf("took longer than at402.rule_timeout (%d ms)", at402_rule_timeout);
	return psprintf("%s: %s", unpack_sql_state(error->sqlerrcode), error->message);
}

const char *
at402_rules_attempt(void (*work) (void *), void *argument, ErrorData **error)
{
	bool		done;
	bool		timed_out;

	begin_limit(at402_rule_timeout);
	done = at402_attempt(AT402_SUBTRANSACTION, work, argument, error);
	end_limit();
	return done ? NULL : explain(*error, &timed_out);
}

/* ---- the parameters ---- */

static ParamExternData *
fetch_parameter(ParamListInfo params, int id, bool speculative, ParamExternData *workspace)
{
	At402Reading *r = params->paramFetchArg;

	if (id > AT402_LOOK_ARGUMENTS && r->rules != NIL && !speculative && !at402_is_distributed())
	{
		r->culprit = id - AT402_LOOK_ARGUMENTS - 1;
		running = ((At402Rule *) list_nth(r->rules, r->culprit))->id;
	}
	return &params->params[id - 1];
}

static Oid
parameter_type(const At402Reading *r, int index)
{
	static const Oid arrays[] = {INT4ARRAYOID, TIMESTAMPTZARRAYOID, INT2ARRAYOID, INT4ARRAYOID};
	static const Oid one_device[] = {INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID};
	static const Oid span[] = {TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, TEXTOID};

	if (index >= AT402_LOOK_ARGUMENTS)
		return BOOLOID;
	return r->look == AT402_LOOK_KEYS || r->look == AT402_LOOK_NEXT ? arrays[index]
		: r->look == AT402_LOOK_SPAN ? span[index] : one_device[index];
}

static ParamListInfo
make_parameters(At402Reading *r)
{
	int			count = AT402_LOOK_ARGUMENTS + list_length(r->expressions);
	ParamListInfo params = makeParamList(count);

	params->paramFetch = fetch_parameter;
	params->paramFetchArg = r;
	for (int i = 0; i < count; i++)
	{
		params->params[i].ptype = parameter_type(r, i);
		params->params[i].pflags = PARAM_FLAG_CONST;
		params->params[i].isnull = r->look == AT402_LOOK_SPAN && i >= 2 &&
			i < AT402_LOOK_ARGUMENTS;
		params->params[i].value = i < AT402_LOOK_ARGUMENTS ? r->args[i]
			: BoolGetDatum(r->due == NULL || r->due[i - AT402_LOOK_ARGUMENTS]);
	}
	return params;
}

/* ---- the rows ---- */

typedef struct Receiver
{
	DestReceiver dest;
	At402Reading *reading;
} Receiver;

static bool
receive(TupleTableSlot *slot, DestReceiver *self)
{
	At402Reading *r = ((Receiver *) self)->reading;
	At402Row	row = {0};
	MemoryContext caller = MemoryContextSwitchTo(r->context);
	Datum	   *values;
	bool		more;

	slot_getallattrs(slot);
	values = slot->tts_values;
	row.key.device_id = DatumGetInt32(values[0]);
	row.key.time = DatumGetTimestampTz(values[1]);
	row.key.seq = DatumGetInt16(values[2]);
	row.key.content_hash = DatumGetInt32(values[3]);
	row.n = DatumGetInt16(values[4]);
	row.part = TextDatumGetCString(values[5]);
	more = r->take(r->argument, &row, values + AT402_LOOK_COLUMNS,
				   slot->tts_isnull + AT402_LOOK_COLUMNS);
	/* what comes until the next condition is nobody's */
	r->culprit = -1;
	running = 0;
	MemoryContextSwitchTo(caller);
	return more;
}

static void
begin_receiving(DestReceiver *self, int operation, TupleDesc desc)
{
}

static void
end_receiving(DestReceiver *self)
{
}

/* ---- the statement ---- */

static SPIPlanPtr
make_plan(const At402Reading *r)
{
	int			count = AT402_LOOK_ARGUMENTS + list_length(r->expressions);
	Oid		   *types = palloc(sizeof(Oid) * count);
	List	   *guarded = NIL;
	ListCell   *lc;

	for (int i = 0; i < count; i++)
		types[i] = parameter_type(r, i);
	foreach(lc, r->expressions)
		guarded = lappend(guarded, psprintf("CASE WHEN $%d THEN %s END",
											AT402_LOOK_ARGUMENTS + 1 + foreach_current_index(lc),
											(char *) lfirst(lc)));
	return at402_prepare(at402_rule_statement(r->source, r->look, r->uses, guarded), count, types);
}

/* The role that rules of this owner run as. */
static Oid
role_of(const char *owner)
{
	Oid			role = at402_rule_run_as(get_role_oid(owner, false));

	if (!OidIsValid(role))
		ereport(ERROR, errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("\"%s\" is no member of \"%s\", the owner of the rule",
					   GetUserNameFromId(at402_rule_worker(), false), owner));
	return role;
}

/* Until the subtransaction ends. */
static void
restrict_to(Oid role)
{
	Oid			user;
	int			context;

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(role, context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	at402_rule_settings();
}

static void
read_rows(void *argument)
{
	At402Reading *r = argument;
	Receiver	receiver = {.dest = {.receiveSlot = receive, .rStartup = begin_receiving,
		.rShutdown = end_receiving, .rDestroy = end_receiving, .mydest = DestNone},
		.reading = r};
	SPIExecuteOptions options = {.dest = &receiver.dest};
	int			result;

	restrict_to(r->owner != NULL ? role_of(r->owner) : GetUserId());
	SPI_connect();
	if (*r->plan == NULL)
		*r->plan = make_plan(r);
	at402_plan_by_keys(*r->plan);
	options.params = make_parameters(r);
	result = SPI_execute_plan_extended(*r->plan, &options);
	if (result < 0)
		elog(ERROR, "could not run rules: %s", SPI_result_code_string(result));
	SPI_finish();
}

const char *
at402_rules_read(At402Reading *r)
{
	bool		done;
	int			limit_ms = at402_rule_timeout;

	if (*r->plan == NULL && limit_ms > 0)
		limit_ms += PLAN_MS * list_length(r->expressions);
	r->context = CurrentMemoryContext;
	r->culprit = -1;
	r->timed_out = false;
	begin_limit(r->unlimited ? 0 : limit_ms);
	done = at402_attempt(AT402_READING, read_rows, r, &r->error);
	end_limit();
	/* locks that outlive the transaction are undone by nobody */
	if (MyBackendType == B_BG_WORKER)
		LockReleaseSession(USER_LOCKMETHOD);
	return done ? NULL : explain(r->error, &r->timed_out);
}
