-- The tables of a new database: those of Tabby 0.32 and 0.33, column by column, also the ones that nothing here uses
-- yet, so that Tabby itself can go on with it. Times are UTC as text, 'YYYY-MM-DD HH:MM:SS'.
-- A database of an older Tabby comes to the same tables by the steps in migrations.c.

-- ---- people ----
CREATE TABLE IF NOT EXISTS users (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  email VARCHAR(150) NOT NULL COLLATE NOCASE,
  is_admin BOOLEAN NOT NULL DEFAULT 0,
  created_at TIMESTAMP DEFAULT (DATETIME('now')),
  updated_at TIMESTAMP DEFAULT (DATETIME('now')),
  auth_token VARCHAR(128) NOT NULL,
  active BOOLEAN NOT NULL DEFAULT 1,
  password_encrypted VARCHAR(128), -- argon2id as a PHC string; null: signs in elsewhere
  avatar BLOB DEFAULT NULL,
  name VARCHAR(255),
  CONSTRAINT idx_email UNIQUE (email),
  CONSTRAINT idx_auth_token UNIQUE (auth_token)
);
CREATE TABLE IF NOT EXISTS refresh_tokens (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  user_id INTEGER NOT NULL REFERENCES users (id),
  token VARCHAR(255) NOT NULL COLLATE NOCASE,
  expires_at TIMESTAMP NOT NULL,
  created_at TIMESTAMP DEFAULT (DATETIME('now')),
  CONSTRAINT idx_token UNIQUE (token)
);
CREATE TABLE IF NOT EXISTS password_reset (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  user_id INTEGER NOT NULL UNIQUE REFERENCES users (id),
  code VARCHAR(36) NOT NULL,
  created_at TIMESTAMP NOT NULL DEFAULT (DATETIME('now'))
);
CREATE TABLE IF NOT EXISTS invitations (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  email VARCHAR(150) NOT NULL COLLATE NOCASE,
  code VARCHAR(36) NOT NULL,
  created_at TIMESTAMP DEFAULT (DATETIME('now')),
  CONSTRAINT idx_email UNIQUE (email),
  CONSTRAINT idx_code UNIQUE (code)
);
CREATE TABLE IF NOT EXISTS registration_token (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  token VARCHAR(255) NOT NULL,
  created_at TIMESTAMP DEFAULT (DATETIME('now')),
  updated_at TIMESTAMP DEFAULT (DATETIME('now')),
  CONSTRAINT idx_token UNIQUE (token)
);
CREATE TABLE IF NOT EXISTS user_groups (
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  name VARCHAR(255) NOT NULL,
  created_at TIMESTAMP NOT NULL DEFAULT (DATETIME('now')),
  updated_at TIMESTAMP NOT NULL DEFAULT (DATETIME('now')),
  CONSTRAINT idx_unique_name UNIQUE (name)
);
CREATE TABLE IF NOT EXISTS user_group_memberships (
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  user_group_id INTEGER NOT NULL REFERENCES user_groups (id) ON DELETE CASCADE,
  is_group_admin BOOLEAN NOT NULL DEFAULT FALSE,
  created_at TIMESTAMP NOT NULL DEFAULT (DATETIME('now')),
  updated_at TIMESTAMP NOT NULL DEFAULT (DATETIME('now')),
  CONSTRAINT idx_unique_user_id_user_group_id UNIQUE (user_id, user_group_id)
);
CREATE TABLE IF NOT EXISTS source_id_read_access_policies (
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  source_id VARCHAR(255) NOT NULL,
  user_group_id INTEGER NOT NULL REFERENCES user_groups (id) ON DELETE CASCADE,
  created_at TIMESTAMP NOT NULL DEFAULT (DATETIME('now')),
  updated_at TIMESTAMP NOT NULL DEFAULT (DATETIME('now')),
  CONSTRAINT idx_unique_source_id_user_group_id UNIQUE (source_id, user_group_id)
);

-- ---- settings: one row each, id 1 ----
CREATE TABLE IF NOT EXISTS server_setting (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  security_allowed_register_domain_list STRING, -- separated by commas
  security_disable_client_side_telemetry BOOLEAN NOT NULL DEFAULT FALSE,
  network_external_url STRING NOT NULL DEFAULT 'http://localhost:8080',
  billing_enterprise_license STRING,
  security_disable_password_login BOOLEAN NOT NULL DEFAULT FALSE,
  branding_logo TEXT DEFAULT NULL,
  branding_icon TEXT DEFAULT NULL
);
CREATE TABLE IF NOT EXISTS email_setting (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  smtp_username VARCHAR(255) NOT NULL,
  smtp_password VARCHAR(255) NOT NULL,
  smtp_server VARCHAR(255) NOT NULL,
  from_address VARCHAR(255) NOT NULL,
  encryption VARCHAR(255) NOT NULL DEFAULT 'ssltls',
  auth_method VARCHAR(255) NOT NULL DEFAULT 'plain',
  smtp_port INTEGER NOT NULL DEFAULT 25
);
CREATE TABLE IF NOT EXISTS oauth_credential (
  id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
  provider TEXT NOT NULL,
  client_id VARCHAR(256) NOT NULL,
  client_secret VARCHAR(64) NOT NULL,
  created_at TIMESTAMP NOT NULL DEFAULT (DATETIME('now')),
  updated_at TIMESTAMP NOT NULL DEFAULT (DATETIME('now')),
  config_url VARCHAR(256),
  config_scopes VARCHAR(256),
  CONSTRAINT idx_provider UNIQUE (provider)
);
CREATE TABLE IF NOT EXISTS ldap_credential (
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  host STRING NOT NULL,
  port INTEGER NOT NULL DEFAULT 389,
  bind_dn STRING NOT NULL,
  bind_password STRING NOT NULL,
  base_dn STRING NOT NULL,
  user_filter STRING NOT NULL,
  encryption STRING NOT NULL DEFAULT 'none',
  skip_tls_verify BOOLEAN NOT NULL DEFAULT FALSE,
  email_attribute STRING NOT NULL DEFAULT 'email',
  name_attribute STRING,
  created_at TIMESTAMP NOT NULL DEFAULT (DATETIME('now')),
  updated_at TIMESTAMP NOT NULL DEFAULT (DATETIME('now'))
);

-- ---- what was done ----
CREATE TABLE IF NOT EXISTS user_completions (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  user_id INTEGER NOT NULL REFERENCES users (id),
  completion_id VARCHAR(255) NOT NULL,
  language VARCHAR(255) NOT NULL,
  views INTEGER NOT NULL DEFAULT 0,
  selects INTEGER NOT NULL DEFAULT 0,
  dismisses INTEGER NOT NULL DEFAULT 0,
  created_at TIMESTAMP NOT NULL DEFAULT (DATETIME('now')),
  updated_at TIMESTAMP NOT NULL DEFAULT (DATETIME('now'))
);
CREATE INDEX IF NOT EXISTS user_completions_completion_id_idx ON user_completions (completion_id);
CREATE INDEX IF NOT EXISTS idx_user_completion_user_id_created_at_language
  ON user_completions (user_id, created_at, language);
CREATE TABLE IF NOT EXISTS user_events (
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  kind TEXT NOT NULL,
  created_at TIMESTAMP NOT NULL DEFAULT (DATETIME('now')),
  payload BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS idx_user_events_user_id ON user_events (user_id);
CREATE INDEX IF NOT EXISTS idx_user_events_created_at ON user_events (created_at);
CREATE TABLE IF NOT EXISTS notifications (
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  created_at TIMESTAMP NOT NULL DEFAULT (DATETIME('now')),
  updated_at TIMESTAMP NOT NULL DEFAULT (DATETIME('now')),
  recipient VARCHAR(255) NOT NULL DEFAULT 'admin',
  content TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS read_notifications (
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  notification_id INTEGER NOT NULL REFERENCES notifications (id) ON DELETE CASCADE,
  created_at TIMESTAMP NOT NULL DEFAULT (DATETIME('now')),
  updated_at TIMESTAMP NOT NULL DEFAULT (DATETIME('now')),
  CONSTRAINT idx_unique_user_id_notification_id UNIQUE (user_id, notification_id)
);

-- ---- where code and documents come from ----
CREATE TABLE IF NOT EXISTS repositories (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name VARCHAR(255) NOT NULL,
  git_url VARCHAR(255) NOT NULL,
  refs TEXT, -- a JSON array of names
  CONSTRAINT idx_name UNIQUE (name),
  CONSTRAINT idx_git_url UNIQUE (git_url)
);
CREATE INDEX IF NOT EXISTS idx_repository_name ON repositories (name);
CREATE TABLE IF NOT EXISTS integrations (
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL,
  display_name TEXT NOT NULL,
  access_token TEXT NOT NULL,
  api_base TEXT,
  error TEXT,
  created_at TIMESTAMP NOT NULL DEFAULT (DATETIME('now')),
  updated_at TIMESTAMP NOT NULL DEFAULT (DATETIME('now')),
  synced BOOLEAN NOT NULL DEFAULT FALSE
);
CREATE TABLE IF NOT EXISTS provided_repositories (
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  integration_id INTEGER NOT NULL REFERENCES integrations (id) ON DELETE CASCADE,
  vendor_id TEXT NOT NULL,
  name TEXT NOT NULL,
  git_url TEXT NOT NULL,
  active BOOLEAN NOT NULL DEFAULT FALSE,
  created_at TIMESTAMP NOT NULL DEFAULT (DATETIME('now')),
  updated_at TIMESTAMP NOT NULL DEFAULT (DATETIME('now')),
  refs TEXT,
  CONSTRAINT idx_unique_integration_id_vendor_id UNIQUE (integration_id, vendor_id)
);
CREATE TABLE IF NOT EXISTS job_runs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  job VARCHAR(255) NOT NULL,
  start_ts TIMESTAMP NOT NULL,
  end_ts TIMESTAMP,
  exit_code INTEGER,
  stdout TEXT NOT NULL,
  stderr TEXT NOT NULL,
  created_at TIMESTAMP DEFAULT (DATETIME('now')),
  updated_at TIMESTAMP DEFAULT (DATETIME('now')),
  command TEXT,
  started_at TIMESTAMP
);
CREATE INDEX IF NOT EXISTS idx_job_created_at ON job_runs (job, created_at);
CREATE INDEX IF NOT EXISTS idx_job_runs_command ON job_runs (command);
CREATE TABLE IF NOT EXISTS web_documents (
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  name VARCHAR(255) NOT NULL,
  url TEXT NOT NULL,
  is_preset BOOLEAN NOT NULL DEFAULT FALSE,
  created_at TIMESTAMP NOT NULL DEFAULT (DATETIME('now')),
  updated_at TIMESTAMP NOT NULL DEFAULT (DATETIME('now')),
  CONSTRAINT idx_name UNIQUE (name),
  CONSTRAINT idx_url UNIQUE (url)
);
CREATE TABLE IF NOT EXISTS ingested_documents (
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  source TEXT NOT NULL,
  doc_id TEXT NOT NULL,
  link TEXT,
  title TEXT NOT NULL,
  body TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('pending', 'indexed', 'failed')),
  expired_at INTEGER NOT NULL, -- Unix time; 0: never
  created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
  UNIQUE (source, doc_id)
);

-- ---- talk ----
CREATE TABLE IF NOT EXISTS threads (
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  is_ephemeral BOOLEAN NOT NULL,
  user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  created_at TIMESTAMP NOT NULL DEFAULT (DATETIME('now')),
  updated_at TIMESTAMP NOT NULL DEFAULT (DATETIME('now')),
  relevant_questions BLOB -- a JSON array
);
CREATE TABLE IF NOT EXISTS thread_messages (
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  thread_id INTEGER NOT NULL REFERENCES threads (id) ON DELETE CASCADE,
  role TEXT NOT NULL,
  content TEXT NOT NULL,
  created_at TIMESTAMP NOT NULL DEFAULT (DATETIME('now')),
  updated_at TIMESTAMP NOT NULL DEFAULT (DATETIME('now')),
  code_source_id VARCHAR(255),
  attachment BLOB NOT NULL DEFAULT '{}'
);
CREATE TABLE IF NOT EXISTS pages (
  id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
  author_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  title TEXT,
  content TEXT,
  created_at TIMESTAMP NOT NULL DEFAULT (DATETIME('now')),
  updated_at TIMESTAMP NOT NULL DEFAULT (DATETIME('now')),
  code_source_id VARCHAR(255)
);
CREATE TABLE IF NOT EXISTS page_sections (
  id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
  page_id INTEGER NOT NULL REFERENCES pages (id) ON DELETE CASCADE,
  title TEXT NOT NULL,
  content TEXT,
  position INTEGER NOT NULL,
  created_at TIMESTAMP NOT NULL DEFAULT (DATETIME('now')),
  updated_at TIMESTAMP NOT NULL DEFAULT (DATETIME('now')),
  attachment BLOB NOT NULL DEFAULT '{}',
  UNIQUE (page_id, position)
);

-- ---- which of Tabby's migrations are in it ----
CREATE TABLE IF NOT EXISTS _sqlx_migrations (
  version BIGINT PRIMARY KEY,
  description TEXT NOT NULL,
  installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
  success BOOLEAN NOT NULL,
  checksum BLOB NOT NULL,
  execution_time BIGINT NOT NULL
);
