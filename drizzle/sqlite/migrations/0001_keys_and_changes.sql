CREATE TABLE `changes` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`resource` text NOT NULL,
	`record_id` integer NOT NULL,
	`operation` text NOT NULL,
	`version` integer NOT NULL,
	`key_id` integer,
	`request_id` text,
	`at` integer NOT NULL,
	`fields` text NOT NULL
);
--> statement-breakpoint
CREATE TABLE `key_secrets` (
	`key` integer NOT NULL,
	`sha256` text NOT NULL,
	FOREIGN KEY (`key`) REFERENCES `keys`(`id`) ON UPDATE no action ON DELETE restrict
);
--> statement-breakpoint
CREATE UNIQUE INDEX `key_secrets_key` ON `key_secrets` (`key`);--> statement-breakpoint
CREATE TABLE `keys` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`name` text NOT NULL,
	`role` text NOT NULL,
	`last_used_at` integer,
	`expires_at` integer,
	`revoked_at` integer,
	`created_at` integer NOT NULL,
	`updated_at` integer NOT NULL,
	`version` integer DEFAULT 1 NOT NULL
);
--> statement-breakpoint
CREATE INDEX `keys_by_name` ON `keys` (`name`,`id`);--> statement-breakpoint
CREATE INDEX `keys_by_role` ON `keys` (`role`,`id`);--> statement-breakpoint
CREATE INDEX `keys_by_last_used_at` ON `keys` (`last_used_at`,`id`);--> statement-breakpoint
CREATE INDEX `keys_by_expires_at` ON `keys` (`expires_at`,`id`);--> statement-breakpoint
CREATE INDEX `keys_by_revoked_at` ON `keys` (`revoked_at`,`id`);--> statement-breakpoint
CREATE INDEX `keys_by_created_at` ON `keys` (`created_at`,`id`);--> statement-breakpoint
CREATE INDEX `keys_by_updated_at` ON `keys` (`updated_at`,`id`);