CREATE TABLE `cursors` (
	`name` text PRIMARY KEY NOT NULL,
	`change` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `deliveries` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`webhook` integer NOT NULL,
	`message` text NOT NULL,
	`type` text NOT NULL,
	`event` text NOT NULL,
	`record_id` integer,
	`status` text NOT NULL,
	`attempts` integer DEFAULT 0 NOT NULL,
	`due_at` integer,
	`response_status` integer,
	`latency_ms` integer,
	`error` text,
	`history` text NOT NULL,
	`body` text NOT NULL,
	`created_at` integer NOT NULL,
	`updated_at` integer NOT NULL,
	`version` integer DEFAULT 1 NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `deliveries_webhook_event` ON `deliveries` (`webhook`,`event`);--> statement-breakpoint
CREATE INDEX `deliveries_due` ON `deliveries` (`webhook`,`status`,`due_at`);--> statement-breakpoint
CREATE INDEX `deliveries_by_webhook` ON `deliveries` (`webhook`,`id`);--> statement-breakpoint
CREATE INDEX `deliveries_by_type` ON `deliveries` (`type`,`id`);--> statement-breakpoint
CREATE INDEX `deliveries_by_status` ON `deliveries` (`status`,`id`);--> statement-breakpoint
CREATE INDEX `deliveries_by_record_id` ON `deliveries` (`record_id`,`id`);--> statement-breakpoint
CREATE INDEX `deliveries_by_created_at` ON `deliveries` (`created_at`,`id`);--> statement-breakpoint
CREATE TABLE `jobs` (
	`id` text PRIMARY KEY NOT NULL,
	`kind` text NOT NULL,
	`key` text,
	`status` text NOT NULL,
	`payload` text NOT NULL,
	`attempts` integer DEFAULT 0 NOT NULL,
	`error` text,
	`result` text,
	`run_at` integer NOT NULL,
	`claim` text,
	`leased_until` integer,
	`key_id` integer,
	`request_id` text,
	`created_at` integer NOT NULL,
	`started_at` integer,
	`finished_at` integer
);
--> statement-breakpoint
CREATE UNIQUE INDEX `jobs_waiting_key` ON `jobs` (`kind`,`key`) WHERE status = 'waiting';--> statement-breakpoint
CREATE INDEX `jobs_by_status_kind` ON `jobs` (`status`,`kind`,`run_at`);--> statement-breakpoint
CREATE INDEX `jobs_by_created_at` ON `jobs` (`created_at`,`id`);--> statement-breakpoint
CREATE INDEX `jobs_by_status_created_at` ON `jobs` (`status`,`created_at`,`id`);--> statement-breakpoint
CREATE TABLE `webhook_pauses` (
	`webhook` integer NOT NULL,
	`until` integer NOT NULL,
	FOREIGN KEY (`webhook`) REFERENCES `webhooks`(`id`) ON UPDATE no action ON DELETE restrict
);
--> statement-breakpoint
CREATE UNIQUE INDEX `webhook_pauses_webhook` ON `webhook_pauses` (`webhook`);--> statement-breakpoint
CREATE TABLE `webhook_secrets` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`webhook` integer NOT NULL,
	`secret` text NOT NULL,
	`expires_at` integer,
	FOREIGN KEY (`webhook`) REFERENCES `webhooks`(`id`) ON UPDATE no action ON DELETE restrict
);
--> statement-breakpoint
CREATE INDEX `webhook_secrets_by_webhook` ON `webhook_secrets` (`webhook`,`id`);--> statement-breakpoint
CREATE TABLE `webhooks` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`url` text NOT NULL,
	`events` text NOT NULL,
	`filter` text DEFAULT '' NOT NULL,
	`description` text DEFAULT '' NOT NULL,
	`enabled` integer DEFAULT true NOT NULL,
	`disabled_reason` text,
	`failing_since` integer,
	`created_at` integer NOT NULL,
	`updated_at` integer NOT NULL,
	`version` integer DEFAULT 1 NOT NULL
);
--> statement-breakpoint
CREATE INDEX `webhooks_by_url` ON `webhooks` (`url`,`id`);--> statement-breakpoint
CREATE INDEX `webhooks_by_enabled` ON `webhooks` (`enabled`,`id`);--> statement-breakpoint
CREATE INDEX `webhooks_by_failing_since` ON `webhooks` (`failing_since`,`id`);--> statement-breakpoint
CREATE INDEX `webhooks_by_created_at` ON `webhooks` (`created_at`,`id`);--> statement-breakpoint
CREATE INDEX `webhooks_by_updated_at` ON `webhooks` (`updated_at`,`id`);--> statement-breakpoint
ALTER TABLE `changes` ADD `state` text;--> statement-breakpoint
CREATE INDEX `changes_by_record` ON `changes` (`resource`,`record_id`,`id`);