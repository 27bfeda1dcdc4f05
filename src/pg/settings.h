/*
 * settings.h - the settings at402.* of postgresql.conf
 */
#ifndef AT402_SETTINGS_H
#define AT402_SETTINGS_H

typedef enum At402UnknownDevices
{
	AT402_REGISTER,
	AT402_QUARANTINE,
	AT402_IGNORE
} At402UnknownDevices;

/* the listener */
extern char *at402_database;
extern char *at402_role;
extern char *at402_listen_addresses;
extern int	at402_port;
extern bool at402_tcp;
extern bool at402_udp;
extern bool at402_paused;
extern int	at402_workers;
extern int	at402_max_connections;
extern int	at402_max_connections_per_address;
extern int	at402_idle_timeout;	/* s */
extern int	at402_login_timeout;	/* s */
extern int	at402_batch_delay;	/* ms */
extern int	at402_batch_reports;
extern int	at402_receive_buffers;	/* kB */
extern int	at402_report_timeout;	/* ms */
extern int	at402_command_timeout;	/* s */
extern bool at402_commands_udp;

/* storing */
extern int	at402_unknown_devices;	/* At402UnknownDevices */
extern int	at402_register_limit;	/* devices a minute */
extern bool at402_store_frames;
extern bool at402_routine_events;
extern int	at402_future_limit; /* s */
extern int	at402_quarantine_limit; /* MB */

/* rules */
extern int	at402_rule_timeout; /* ms */
extern int	at402_alert_max_age;	/* s */

/* maintenance */
extern int	at402_maintain_interval;	/* s */

extern void at402_define_settings(void);

#endif							/* AT402_SETTINGS_H */
