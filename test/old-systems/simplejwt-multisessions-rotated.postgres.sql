--
-- PostgreSQL database dump
--


-- Dumped from database version 15.20 (Debian 15.20-0+deb12u1)
-- Dumped by pg_dump version 15.20 (Debian 15.20-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: auth_group; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.auth_group (
    id integer NOT NULL,
    name character varying(150) NOT NULL
);


--
-- Name: auth_group_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.auth_group_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: auth_group_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.auth_group_id_seq OWNED BY public.auth_group.id;


--
-- Name: auth_group_permissions; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.auth_group_permissions (
    id integer NOT NULL,
    group_id integer NOT NULL,
    permission_id integer NOT NULL
);


--
-- Name: auth_group_permissions_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.auth_group_permissions_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: auth_group_permissions_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.auth_group_permissions_id_seq OWNED BY public.auth_group_permissions.id;


--
-- Name: auth_permission; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.auth_permission (
    id integer NOT NULL,
    name character varying(255) NOT NULL,
    content_type_id integer NOT NULL,
    codename character varying(100) NOT NULL
);


--
-- Name: auth_permission_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.auth_permission_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: auth_permission_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.auth_permission_id_seq OWNED BY public.auth_permission.id;


--
-- Name: auth_user; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.auth_user (
    id integer NOT NULL,
    password character varying(128) NOT NULL,
    last_login timestamp with time zone,
    is_superuser boolean NOT NULL,
    username character varying(150) NOT NULL,
    first_name character varying(150) NOT NULL,
    last_name character varying(150) NOT NULL,
    email character varying(254) NOT NULL,
    is_staff boolean NOT NULL,
    is_active boolean NOT NULL,
    date_joined timestamp with time zone NOT NULL
);


--
-- Name: auth_user_groups; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.auth_user_groups (
    id integer NOT NULL,
    user_id integer NOT NULL,
    group_id integer NOT NULL
);


--
-- Name: auth_user_groups_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.auth_user_groups_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: auth_user_groups_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.auth_user_groups_id_seq OWNED BY public.auth_user_groups.id;


--
-- Name: auth_user_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.auth_user_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: auth_user_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.auth_user_id_seq OWNED BY public.auth_user.id;


--
-- Name: auth_user_user_permissions; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.auth_user_user_permissions (
    id integer NOT NULL,
    user_id integer NOT NULL,
    permission_id integer NOT NULL
);


--
-- Name: auth_user_user_permissions_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.auth_user_user_permissions_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: auth_user_user_permissions_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.auth_user_user_permissions_id_seq OWNED BY public.auth_user_user_permissions.id;


--
-- Name: django_content_type; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.django_content_type (
    id integer NOT NULL,
    app_label character varying(100) NOT NULL,
    model character varying(100) NOT NULL
);


--
-- Name: django_content_type_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.django_content_type_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: django_content_type_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.django_content_type_id_seq OWNED BY public.django_content_type.id;


--
-- Name: django_migrations; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.django_migrations (
    id integer NOT NULL,
    app character varying(255) NOT NULL,
    name character varying(255) NOT NULL,
    applied timestamp with time zone NOT NULL
);


--
-- Name: django_migrations_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.django_migrations_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: django_migrations_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.django_migrations_id_seq OWNED BY public.django_migrations.id;


--
-- Name: simplejwt_multisessions_authenticationsession; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.simplejwt_multisessions_authenticationsession (
    id bigint NOT NULL,
    session_id character varying(510) NOT NULL,
    session integer NOT NULL,
    refresh character varying(510) NOT NULL,
    "expiresAt" timestamp with time zone,
    "createdAt" timestamp with time zone NOT NULL,
    "lastUpdateDate" timestamp with time zone NOT NULL,
    info text,
    user_id integer NOT NULL
);


--
-- Name: simplejwt_multisessions_authenticationsession_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.simplejwt_multisessions_authenticationsession_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: simplejwt_multisessions_authenticationsession_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.simplejwt_multisessions_authenticationsession_id_seq OWNED BY public.simplejwt_multisessions_authenticationsession.id;


--
-- Name: token_blacklist_blacklistedtoken; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.token_blacklist_blacklistedtoken (
    id bigint NOT NULL,
    blacklisted_at timestamp with time zone NOT NULL,
    token_id bigint NOT NULL
);


--
-- Name: token_blacklist_blacklistedtoken_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.token_blacklist_blacklistedtoken_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: token_blacklist_blacklistedtoken_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.token_blacklist_blacklistedtoken_id_seq OWNED BY public.token_blacklist_blacklistedtoken.id;


--
-- Name: token_blacklist_outstandingtoken; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.token_blacklist_outstandingtoken (
    id bigint NOT NULL,
    token text NOT NULL,
    created_at timestamp with time zone,
    expires_at timestamp with time zone NOT NULL,
    user_id integer,
    jti character varying(255) NOT NULL
);


--
-- Name: token_blacklist_outstandingtoken_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.token_blacklist_outstandingtoken_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: token_blacklist_outstandingtoken_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.token_blacklist_outstandingtoken_id_seq OWNED BY public.token_blacklist_outstandingtoken.id;


--
-- Name: auth_group id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_group ALTER COLUMN id SET DEFAULT nextval('public.auth_group_id_seq'::regclass);


--
-- Name: auth_group_permissions id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_group_permissions ALTER COLUMN id SET DEFAULT nextval('public.auth_group_permissions_id_seq'::regclass);


--
-- Name: auth_permission id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_permission ALTER COLUMN id SET DEFAULT nextval('public.auth_permission_id_seq'::regclass);


--
-- Name: auth_user id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_user ALTER COLUMN id SET DEFAULT nextval('public.auth_user_id_seq'::regclass);


--
-- Name: auth_user_groups id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_user_groups ALTER COLUMN id SET DEFAULT nextval('public.auth_user_groups_id_seq'::regclass);


--
-- Name: auth_user_user_permissions id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_user_user_permissions ALTER COLUMN id SET DEFAULT nextval('public.auth_user_user_permissions_id_seq'::regclass);


--
-- Name: django_content_type id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.django_content_type ALTER COLUMN id SET DEFAULT nextval('public.django_content_type_id_seq'::regclass);


--
-- Name: django_migrations id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.django_migrations ALTER COLUMN id SET DEFAULT nextval('public.django_migrations_id_seq'::regclass);


--
-- Name: simplejwt_multisessions_authenticationsession id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.simplejwt_multisessions_authenticationsession ALTER COLUMN id SET DEFAULT nextval('public.simplejwt_multisessions_authenticationsession_id_seq'::regclass);


--
-- Name: token_blacklist_blacklistedtoken id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.token_blacklist_blacklistedtoken ALTER COLUMN id SET DEFAULT nextval('public.token_blacklist_blacklistedtoken_id_seq'::regclass);


--
-- Name: token_blacklist_outstandingtoken id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.token_blacklist_outstandingtoken ALTER COLUMN id SET DEFAULT nextval('public.token_blacklist_outstandingtoken_id_seq'::regclass);


--
-- Data for Name: auth_group; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: auth_group_permissions; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: auth_permission; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.auth_permission VALUES (1, 'Can add permission', 1, 'add_permission');
INSERT INTO public.auth_permission VALUES (2, 'Can change permission', 1, 'change_permission');
INSERT INTO public.auth_permission VALUES (3, 'Can delete permission', 1, 'delete_permission');
INSERT INTO public.auth_permission VALUES (4, 'Can view permission', 1, 'view_permission');
INSERT INTO public.auth_permission VALUES (5, 'Can add group', 2, 'add_group');
INSERT INTO public.auth_permission VALUES (6, 'Can change group', 2, 'change_group');
INSERT INTO public.auth_permission VALUES (7, 'Can delete group', 2, 'delete_group');
INSERT INTO public.auth_permission VALUES (8, 'Can view group', 2, 'view_group');
INSERT INTO public.auth_permission VALUES (9, 'Can add user', 3, 'add_user');
INSERT INTO public.auth_permission VALUES (10, 'Can change user', 3, 'change_user');
INSERT INTO public.auth_permission VALUES (11, 'Can delete user', 3, 'delete_user');
INSERT INTO public.auth_permission VALUES (12, 'Can view user', 3, 'view_user');
INSERT INTO public.auth_permission VALUES (13, 'Can add content type', 4, 'add_contenttype');
INSERT INTO public.auth_permission VALUES (14, 'Can change content type', 4, 'change_contenttype');
INSERT INTO public.auth_permission VALUES (15, 'Can delete content type', 4, 'delete_contenttype');
INSERT INTO public.auth_permission VALUES (16, 'Can view content type', 4, 'view_contenttype');
INSERT INTO public.auth_permission VALUES (17, 'Can add blacklisted token', 5, 'add_blacklistedtoken');
INSERT INTO public.auth_permission VALUES (18, 'Can change blacklisted token', 5, 'change_blacklistedtoken');
INSERT INTO public.auth_permission VALUES (19, 'Can delete blacklisted token', 5, 'delete_blacklistedtoken');
INSERT INTO public.auth_permission VALUES (20, 'Can view blacklisted token', 5, 'view_blacklistedtoken');
INSERT INTO public.auth_permission VALUES (21, 'Can add outstanding token', 6, 'add_outstandingtoken');
INSERT INTO public.auth_permission VALUES (22, 'Can change outstanding token', 6, 'change_outstandingtoken');
INSERT INTO public.auth_permission VALUES (23, 'Can delete outstanding token', 6, 'delete_outstandingtoken');
INSERT INTO public.auth_permission VALUES (24, 'Can view outstanding token', 6, 'view_outstandingtoken');
INSERT INTO public.auth_permission VALUES (25, 'Can add authentication session', 7, 'add_authenticationsession');
INSERT INTO public.auth_permission VALUES (26, 'Can change authentication session', 7, 'change_authenticationsession');
INSERT INTO public.auth_permission VALUES (27, 'Can delete authentication session', 7, 'delete_authenticationsession');
INSERT INTO public.auth_permission VALUES (28, 'Can view authentication session', 7, 'view_authenticationsession');


--
-- Data for Name: auth_user; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.auth_user VALUES (1, 'pbkdf2_sha256$260000$FWOXwCjYCUT2BG5YmiJXcR$2rfsuCR+s3e4yqnhZubMJ1JaPO6L4jaYCK+2C2fm7vc=', NULL, false, 'Ünïpg+0@example.org', '', '', 'pg0@example.org', false, true, '2026-11-28 13:29:47.527757+00');
INSERT INTO public.auth_user VALUES (2, 'pbkdf2_sha256$260000$MrfJv8j0NW8L5ls3BMepjX$tjCzyq7dgZ8WMG6MM+RT5Z0AyM957T0dYGznxGc86ac=', NULL, false, 'pg01', '', '', 'pg1@example.org', false, true, '2026-11-28 13:29:48.683895+00');
INSERT INTO public.auth_user VALUES (3, 'pbkdf2_sha256$260000$7cGkrGPW9EupMIjszKMCWj$0rmhmFsXbcMZaFO2eUtMFSbv0y841l89seDvmKWnwUI=', NULL, false, 'pg02', '', '', 'pg2@example.org', false, true, '2026-11-28 13:29:48.802463+00');
INSERT INTO public.auth_user VALUES (5, 'pbkdf2_sha256$260000$JlLnt4TbuBsK7NRV8nWX3t$iw34Sy0L9axAvnhOT8UxcugBtEnBZLlssMkmzCnCUYM=', NULL, false, 'pg04', '', '', 'pg4@example.org', false, true, '2026-11-28 13:29:50.547828+00');
INSERT INTO public.auth_user VALUES (6, 'pbkdf2_sha256$260000$evLQPYSxlumDcCMeV1ZEua$y9KZu0EiKhfJiu2qJ16cBAcYKIa/m1Hu5jU0zFBmblc=', NULL, false, 'pg05', '', '', 'pg5@example.org', false, true, '2026-11-28 13:29:51.032773+00');
INSERT INTO public.auth_user VALUES (7, 'pbkdf2_sha256$260000$kmWI5IIlF2hgKRmzoQTUfA$Da7vBSmRZHdjYHL79v7AH/7K7QYmiYdAWMmi/fvO9XA=', NULL, false, 'pg06', '', '', 'pg6@example.org', false, true, '2026-11-28 13:29:51.648575+00');
INSERT INTO public.auth_user VALUES (8, 'pbkdf2_sha256$260000$58bWvZ4srUFDDAPIi19qsi$5G4B4N0I5MSEvrb0oEj4DHr84LKBY/tA6bj4v1A+54o=', NULL, false, 'Ünïpg+7@example.org', '', '', 'pg7@example.org', false, true, '2026-11-28 13:29:51.828966+00');
INSERT INTO public.auth_user VALUES (9, 'pbkdf2_sha256$260000$VW7H7OtrQBqUsWjeM5zF2p$izXxqZIbdnCBkGw/cx4ZXjPq3JjRB2SQ44+SbrpvxY0=', NULL, false, 'pg08', '', '', 'pg8@example.org', false, true, '2026-11-28 13:29:52.631826+00');
INSERT INTO public.auth_user VALUES (10, 'pbkdf2_sha256$260000$8fVJzpp9buRpdUM5sBRdtU$ET4P5fK71v24oxlTeAlCoffMQleLmPEL9SVGYGcjkt4=', NULL, false, 'pg09', '', '', 'pg9@example.org', false, true, '2026-11-28 13:29:53.126149+00');
INSERT INTO public.auth_user VALUES (11, 'pbkdf2_sha256$260000$sSU4VcdBTAzoH3z3LT2Vhs$+GozSQnx+F4hHUjuuQB9D/YdAvrmFcQTqHQIGxV6GAM=', NULL, false, 'pg10', '', '', 'pg10@example.org', false, true, '2026-11-28 13:29:53.332558+00');
INSERT INTO public.auth_user VALUES (12, 'pbkdf2_sha256$260000$KOZ4nlxBHOIxGbNdmDAuTr$+cyhzn5gWMZ3v3ewNy8HRxgZ+thibZ5MLYDYIwMiMUs=', NULL, false, 'pg11', '', '', 'pg11@example.org', false, true, '2026-11-28 13:29:55.082595+00');
INSERT INTO public.auth_user VALUES (13, 'pbkdf2_sha256$260000$Vwq1i0XPDH65CCWLDEDFEA$u0Zq40TPwleQ6CRMRP6e7rOOnWJYjhoXFLewzXUn3kU=', NULL, false, 'pg12', '', '', 'pg12@example.org', false, true, '2026-11-28 13:29:55.547734+00');
INSERT INTO public.auth_user VALUES (14, 'pbkdf2_sha256$260000$0P6ETdFzMFyEqGFxY6PN9y$If5PLDEMtVuOXkPJAZd+wl3Dm3mJFDu5eLSkSXPFeP4=', NULL, false, 'pg13', '', '', 'pg13@example.org', false, true, '2026-11-28 13:29:56.336303+00');
INSERT INTO public.auth_user VALUES (16, 'pbkdf2_sha256$260000$86rNhGvFPWZxNFuqs59A7m$lCg1VLU7A8Ck7XaTZ7WnYPnPvwMgTuOEjhuGL26Zc5k=', NULL, false, 'pg15', '', '', 'pg15@example.org', false, true, '2026-11-28 13:29:57.166069+00');
INSERT INTO public.auth_user VALUES (17, 'pbkdf2_sha256$260000$kvBDOLzXX4pjhEXQMqqgn7$MPkzG+cU3XBHalP32Zov6jqSncVI7hNZF1Ip8rZET7M=', NULL, false, 'pg16', '', '', 'pg16@example.org', false, true, '2026-11-28 13:29:57.950301+00');
INSERT INTO public.auth_user VALUES (18, 'pbkdf2_sha256$260000$pPHQ88LnlYtddNi7X6hqbj$3Wn4NxQntg380hm4WBmySd/xMYInAZo1kQGZpnFL+Dc=', NULL, false, 'pg17', '', '', 'pg17@example.org', false, true, '2026-11-28 13:29:59.244919+00');
INSERT INTO public.auth_user VALUES (19, 'pbkdf2_sha256$260000$0YmSrP0Et4rSyn457yLlT5$85KteFZeTXdRTjEbeY+ESFiX0BtJyGG14mibpx34PTE=', NULL, false, 'pg18', '', '', 'pg18@example.org', false, true, '2026-11-28 13:30:01.247617+00');
INSERT INTO public.auth_user VALUES (20, 'pbkdf2_sha256$260000$HqPKgrejqZw21UTZoxVzVv$mbQTm9Nyhg7yvfg4vjdWIc5V1NKbbbMqnHxexZd6cKU=', NULL, false, 'pg19', '', '', 'pg19@example.org', false, true, '2026-11-28 13:30:02.264314+00');
INSERT INTO public.auth_user VALUES (4, 'pbkdf2_sha256$260000$9aoFy9JsA5q30B6vE6AzOG$a4aVxriTw3gHR0OSWo3pu4XmZve1vMuZi4EUFy8ithA=', NULL, false, 'pg03', '', '', 'pg3@example.org', false, false, '2026-11-28 13:29:50.046117+00');
INSERT INTO public.auth_user VALUES (15, 'pbkdf2_sha256$260000$mJoKB6fkN8e9lLWyJVqQ8h$THF4OJ8AFyH6uwSrWG270fVsWsRvqkuHqGQhReSClts=', NULL, false, 'Ünïpg+14@example.org', '', '', 'pg14@example.org', false, false, '2026-11-28 13:29:56.959747+00');


--
-- Data for Name: auth_user_groups; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: auth_user_user_permissions; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: django_content_type; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.django_content_type VALUES (1, 'auth', 'permission');
INSERT INTO public.django_content_type VALUES (2, 'auth', 'group');
INSERT INTO public.django_content_type VALUES (3, 'auth', 'user');
INSERT INTO public.django_content_type VALUES (4, 'contenttypes', 'contenttype');
INSERT INTO public.django_content_type VALUES (5, 'token_blacklist', 'blacklistedtoken');
INSERT INTO public.django_content_type VALUES (6, 'token_blacklist', 'outstandingtoken');
INSERT INTO public.django_content_type VALUES (7, 'simplejwt_multisessions', 'authenticationsession');


--
-- Data for Name: django_migrations; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.django_migrations VALUES (1, 'contenttypes', '0001_initial', '2026-11-28 13:29:45.891994+00');
INSERT INTO public.django_migrations VALUES (2, 'contenttypes', '0002_remove_content_type_name', '2026-11-28 13:29:45.900101+00');
INSERT INTO public.django_migrations VALUES (3, 'auth', '0001_initial', '2026-11-28 13:29:46.015475+00');
INSERT INTO public.django_migrations VALUES (4, 'auth', '0002_alter_permission_name_max_length', '2026-11-28 13:29:46.036296+00');
INSERT INTO public.django_migrations VALUES (5, 'auth', '0003_alter_user_email_max_length', '2026-11-28 13:29:46.056185+00');
INSERT INTO public.django_migrations VALUES (6, 'auth', '0004_alter_user_username_opts', '2026-11-28 13:29:46.074732+00');
INSERT INTO public.django_migrations VALUES (7, 'auth', '0005_alter_user_last_login_null', '2026-11-28 13:29:46.092165+00');
INSERT INTO public.django_migrations VALUES (8, 'auth', '0006_require_contenttypes_0002', '2026-11-28 13:29:46.095476+00');
INSERT INTO public.django_migrations VALUES (9, 'auth', '0007_alter_validators_add_error_messages', '2026-11-28 13:29:46.107745+00');
INSERT INTO public.django_migrations VALUES (10, 'auth', '0008_alter_user_username_max_length', '2026-11-28 13:29:46.122431+00');
INSERT INTO public.django_migrations VALUES (11, 'auth', '0009_alter_user_last_name_max_length', '2026-11-28 13:29:46.138088+00');
INSERT INTO public.django_migrations VALUES (12, 'auth', '0010_alter_group_name_max_length', '2026-11-28 13:29:46.152498+00');
INSERT INTO public.django_migrations VALUES (13, 'auth', '0011_update_proxy_permissions', '2026-11-28 13:29:46.168526+00');
INSERT INTO public.django_migrations VALUES (14, 'auth', '0012_alter_user_first_name_max_length', '2026-11-28 13:29:46.183419+00');
INSERT INTO public.django_migrations VALUES (15, 'simplejwt_multisessions', '0001_initial', '2026-11-28 13:29:46.222638+00');
INSERT INTO public.django_migrations VALUES (16, 'token_blacklist', '0001_initial', '2026-11-28 13:29:46.281872+00');
INSERT INTO public.django_migrations VALUES (17, 'token_blacklist', '0002_outstandingtoken_jti_hex', '2026-11-28 13:29:46.303425+00');
INSERT INTO public.django_migrations VALUES (18, 'token_blacklist', '0003_auto_20171017_2007', '2026-11-28 13:29:46.323912+00');
INSERT INTO public.django_migrations VALUES (19, 'token_blacklist', '0004_auto_20171017_2013', '2026-11-28 13:29:46.340936+00');
INSERT INTO public.django_migrations VALUES (20, 'token_blacklist', '0005_remove_outstandingtoken_jti', '2026-11-28 13:29:46.366114+00');
INSERT INTO public.django_migrations VALUES (21, 'token_blacklist', '0006_auto_20171017_2113', '2026-11-28 13:29:46.387483+00');
INSERT INTO public.django_migrations VALUES (22, 'token_blacklist', '0007_auto_20171017_2214', '2026-11-28 13:29:46.437926+00');
INSERT INTO public.django_migrations VALUES (23, 'token_blacklist', '0008_migrate_to_bigautofield', '2026-11-28 13:29:46.512187+00');
INSERT INTO public.django_migrations VALUES (24, 'token_blacklist', '0010_fix_migrate_to_bigautofield', '2026-11-28 13:29:46.573582+00');
INSERT INTO public.django_migrations VALUES (25, 'token_blacklist', '0011_linearizes_history', '2026-11-28 13:29:46.580604+00');
INSERT INTO public.django_migrations VALUES (26, 'token_blacklist', '0012_alter_outstandingtoken_user', '2026-11-28 13:29:46.617482+00');


--
-- Data for Name: simplejwt_multisessions_authenticationsession; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (5, 'l5f8w-lxjg-5', 1, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU4OSwiaWF0IjoxNzk1ODcyNTg5LCJqdGkiOiJkMzQ5MDA3ZTRiMzk0OTAxYmFhMWZhMjIyYmNmOWQyZSIsInVzZXJfaWQiOjN9.L-MedKZhr9sB8UGk2o5SA8ZQFnlygN6lsW1FKyOVnGI', '2036-11-25 13:29:49+00', '2026-06-11 19:47:44.023376+00', '2026-06-12 19:47:44.023376+00', 'Safari 15.6.1, iOS 15.6.1, iPhone', 3);
INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (6, 'szfpbtwr98-6', 1, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU4OSwiaWF0IjoxNzk1ODcyNTg5LCJqdGkiOiI1ODUzMjUxMTQ2NGY0MmExYjlkY2NjZTNmNzU2NTlkNiIsInVzZXJfaWQiOjN9.jy35-bRJmLoDCBPeFfJlHVQLWOD4Y3eV4sZFpbtwR98', '2026-11-16 13:30:03.023376+00', '2026-09-23 13:05:21.023376+00', '2026-09-24 13:05:21.023376+00', 'a	b
c', 3);
INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (8, 'rzza_wuwvs-8', 1, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU4OSwiaWF0IjoxNzk1ODcyNTg5LCJqdGkiOiI0NDA3ZjhkZjE4YTE0NGNhYTkxNWViMzRjZWM5ZjQ5YSIsInVzZXJfaWQiOjN9.e_1HA2Xc1l_V-rE7nOxPdjwr6SZnOO3_VFwpuU_I-us', '2036-11-25 13:29:49+00', '2026-06-06 15:13:39.023376+00', '2026-06-07 15:13:39.023376+00', 'O''Reilly; DROP TABLE --', 3);
INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (9, 'pnvdxcreww-9', 0, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MTk1MzU1MjU5MCwiaWF0IjoxNzk1ODcyNTkwLCJqdGkiOiJlODhlYjkyODAzODQ0MTQ1OGE2NWE4YzRkNzdiNDc3OCIsInVzZXJfaWQiOjN9.HUzCfSCvznyAf3U61nZLYXhZfId-I6qgvpNVDxCReww', '2031-11-27 13:29:50+00', '2026-10-06 18:37:36.023376+00', '2026-10-07 18:37:36.023376+00', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', 3);
INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (11, 'uvhcgix5ss-11', 1, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5MCwiaWF0IjoxNzk1ODcyNTkwLCJqdGkiOiI1M2NmOGZiYmJmYTY0ZDhiOTVjY2QyMGM0NDk2NjQ1MyIsInVzZXJfaWQiOjR9.R4iHwH57sfmCiEwD_b7FDMGacimEKKPOLuVhcGix5Ss', '2036-11-25 13:29:50+00', '2026-06-11 21:24:39.023376+00', '2026-06-12 21:24:39.023376+00', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', 4);
INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (15, 'pwdfxvxzlw-15', 1, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5MSwiaWF0IjoxNzk1ODcyNTkxLCJqdGkiOiIxN2I2OGZjZTc5YjU0ODdkYTQ5YzhkOTkyZWM0YjBlYyIsInVzZXJfaWQiOjZ9.8LMybp7KWDU7wnrD_3vOo7zTgAjCjdIqZpwdfxVxZLw', '2036-11-25 13:29:51+00', '2026-06-10 04:22:37.023376+00', '2026-06-11 04:22:37.023376+00', 'a	b
c', 6);
INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (2, 'qwvswenz0u-2', 1, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU4OCwiaWF0IjoxNzk1ODcyNTg4LCJqdGkiOiI1NjNjYTg3NDgwMDc0NjYzYTI3YWJkYzllZGQ0NTM0YSIsInVzZXJfaWQiOjF9.TLrIgsC5iC9gXMvQUEor0Gu12gSnm04CBqwVswenz0U', '2036-11-25 13:29:48+00', '2026-07-27 12:41:22.023376+00', '2026-07-28 12:41:22.023376+00', 'Safari 15.6.1, iOS 15.6.1, iPhone', 1);
INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (3, 'ksvisjwwm4-3', 0, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MTk1MzU1MjU4OSwiaWF0IjoxNzk1ODcyNTg5LCJqdGkiOiI2ZTcyMTJiYWQ5ZTU0MDVkOTJjNzFlMDQ4NzU0MjY1ZiIsInVzZXJfaWQiOjN9.5u41LgFi2TZ-xmEa8ccqb7Jotj-UMkfzHkSvisJWwm4', '2031-11-27 13:29:49+00', '2026-09-30 09:23:27.023376+00', '2026-10-01 09:23:27.023376+00', 'Ωμέγα браузер 浏览器 🦊', 3);
INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (4, 'yhujlkqcri-4', 1, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU4OSwiaWF0IjoxNzk1ODcyNTg5LCJqdGkiOiIwYzcyZWRkOGE3Njg0MTkwODU5YmUzNWQ4NGY2YzYwMiIsInVzZXJfaWQiOjN9.j9m9tGT6KaHvAofkZpFQCQDdv8l3Xm5dB4NmRromEYQ', '2036-11-25 13:29:49+00', '2026-07-22 15:07:39.023376+00', '2026-07-23 15:07:39.023376+00', NULL, 3);
INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (7, '9jat-qwwee-7', 1, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU4OSwiaWF0IjoxNzk1ODcyNTg5LCJqdGkiOiJlMDhjZDIyMTg1YjI0NGVhYjM1Mjg0NTcwMGUwYWVlZiIsInVzZXJfaWQiOjN9.QOiuYLI67x4I49d_gkPyBORaSTpL0rexk6jLaCX9nJE', '2036-11-25 13:29:49+00', '2026-09-11 08:17:11.023376+00', '2026-09-12 08:17:11.023376+00', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', 3);
INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (10, 'xga17c-ezc-10', 0, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5MCwiaWF0IjoxNzk1ODcyNTkwLCJqdGkiOiJmNmQ3ZjI0ZDExMmU0ZDdhYTM1NzVkYzg1ODM0YzJkYyIsInVzZXJfaWQiOjR9.--Ttg7zmSJ0olwdXRGacUJe8pChnIx8OwKC6q_CSb00', '2031-11-27 13:29:50+00', '2026-10-15 01:01:48.023376+00', '2026-10-16 01:01:48.023376+00', 'a	b
c', 4);
INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (12, 'kzhqtxnxco-12', 0, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MTk1MzU1MjU5MCwiaWF0IjoxNzk1ODcyNTkwLCJqdGkiOiJlMzQ5ZjQ0MmUyZDg0ZTY5YWYyMzVhMWVjZmU4ZmY2YyIsInVzZXJfaWQiOjV9.gMJjc7uzHWoJsEC1BXgbiSAjAIT7kGMFnKZHQTxnXco', '2031-11-27 13:29:50+00', '2026-07-23 04:42:32.023376+00', '2026-07-24 04:42:32.023376+00', 'Safari 15.6.1, iOS 15.6.1, iPhone', 5);
INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (13, 'ysult_mpfu-13', 1, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5MSwiaWF0IjoxNzk1ODcyNTkxLCJqdGkiOiIwNTkyYTEyMWNkOWQ0ZDkwYmQ2MmY5OWQ5MWQ3OGY1ZSIsInVzZXJfaWQiOjV9.jSDTwXPidiKBk5PHBtyDCNbzT_p2HTYdYqQp5wsR2_M', '2036-11-25 13:29:50+00', '2026-09-04 22:45:51.023376+00', '2026-09-05 22:45:51.023376+00', 'Chrome 105.0.0.0, OS X 10.15.7 64-bit', 5);
INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (17, 'u4a_yd4u68-17', 1, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5MiwiaWF0IjoxNzk1ODcyNTkyLCJqdGkiOiJiNTJiYjcxZGQwMTI0YTFkYmYzNzE5OGU2ZTM5YWY0NyIsInVzZXJfaWQiOjh9.KiUy7Nfz4ut1S_dalkT-bSZEXhNYsrTRtu4A_YD4u68', '2036-11-25 13:29:52+00', '2026-10-07 14:24:41.023376+00', '2026-10-08 14:24:41.023376+00', 'Ωμέγα браузер 浏览器 🦊', 8);
INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (18, 'aie0jkjreg-18', 1, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5MiwiaWF0IjoxNzk1ODcyNTkyLCJqdGkiOiJjMTQxYTgzZGJlZTA0ZjZjYmU5NjdkMTNkOGJmOTVhNyIsInVzZXJfaWQiOjh9.K0FIZYdRAzhfwcB9P3tS0jBgXsapdIAqtAIe0JkJrEg', '2036-11-25 13:29:52+00', '2026-08-09 06:12:31.023376+00', '2026-08-10 06:12:31.023376+00', 'Ωμέγα браузер 浏览器 🦊', 8);
INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (44, 'yywhdluaxe-44', 0, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MTk1MzU1MjYwMSwiaWF0IjoxNzk1ODcyNjAxLCJqdGkiOiJmNTlmNzEzYmFjOWE0MDdkYWY0MDEyY2VkMjBmYjhlOSIsInVzZXJfaWQiOjE5fQ.ArV_193fyNriU8k9Emtf1suTIggcAD7BFyyWhdluAxE', '2031-11-27 13:30:01+00', '2026-06-25 11:59:26.023376+00', '2026-06-26 11:59:26.023376+00', 'Ωμέγα браузер 浏览器 🦊', 19);
INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (40, 'mjamjg7s3a-40', 1, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjYwMCwiaWF0IjoxNzk1ODcyNjAwLCJqdGkiOiI3N2E0NmEyMjU5OTU0YWFiYTMwM2ZmNWM0N2FmY2M0ZCIsInVzZXJfaWQiOjE4fQ.f4Kb0fAsYYuzSkNoDTG_sCeKI7uvIytALVbdw3hBdwU', '2036-11-25 13:30:00+00', '2026-08-04 01:50:15.023376+00', '2026-08-05 01:50:15.023376+00', 'Safari 15.6.1, iOS 15.6.1, iPhone', 18);
INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (21, 'l8cptz08w-21', 1, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5MywiaWF0IjoxNzk1ODcyNTkzLCJqdGkiOiJkN2ZmODE4NTc4NDE0MTE1ODMzZTY5Yjk1ZWM2OThjOSIsInVzZXJfaWQiOjExfQ.Fl7Yp6ix4cFt7ymCxpJ7X7TKiTG3SxJG0-l8cPTZ08w', '2036-11-25 13:29:53+00', '2026-10-01 16:16:14.023376+00', '2026-10-02 16:16:14.023376+00', 'Safari 15.6.1, iOS 15.6.1, iPhone', 11);
INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (22, 'urbsqysiyq-22', 0, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MTk1MzU1MjU5NCwiaWF0IjoxNzk1ODcyNTk0LCJqdGkiOiJlYmE0MGE5MzVjOGQ0OWFlOTZmN2E4NTYxZTMxZmM1NCIsInVzZXJfaWQiOjExfQ.WgPTaCu8n9QN8Rdj1zXONDGUzMhHzDE6OURBSQYSiyQ', '2026-11-23 13:30:03.023376+00', '2026-09-07 05:51:32.023376+00', '2026-09-08 05:51:32.023376+00', 'Safari 15.6.1, iOS 15.6.1, iPhone', 11);
INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (24, 's1kzzlxan4-24', 1, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5NCwiaWF0IjoxNzk1ODcyNTk0LCJqdGkiOiJhMjlhN2YxZWZhYzc0M2JlYWIyZGVmZGY1MzYxYjczNSIsInVzZXJfaWQiOjExfQ.5r2Ob7pdYMcWpQeSE1THR_ULVjuCqOhrKs1KZZLXAn4', '2036-11-25 13:29:54+00', '2026-10-23 19:25:31.023376+00', '2026-10-24 19:25:31.023376+00', 'Safari 15.6.1, iOS 15.6.1, iPhone', 11);
INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (25, 'etjssm1uva-25', 0, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MTk1MzU1MjU5NCwiaWF0IjoxNzk1ODcyNTk0LCJqdGkiOiIyNGRiNmUwYzgwYzY0MzM3YTcxM2I5YTUwODMxNGZiOSIsInVzZXJfaWQiOjExfQ._j4dTG8wop37IxYa6-kF_D21QkLkkE-MQeTJSSM1UvA', '2031-11-27 13:29:54+00', '2026-08-30 12:01:26.023376+00', '2026-08-31 12:01:26.023376+00', NULL, 11);
INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (26, 'akwxmajnik-26', 1, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5NSwiaWF0IjoxNzk1ODcyNTk1LCJqdGkiOiI5MTY1Y2ExMTMwNDc0NmMzYjkxYjY2OGQ4YzBhODU2OSIsInVzZXJfaWQiOjExfQ.52b8ArrhXDimQQCpHSuSnE6wMY0nRliEdAkwXmAjnik', '2036-11-25 13:29:55+00', '2026-05-29 11:09:57.023376+00', '2026-05-30 11:09:57.023376+00', 'a	b
c', 11);
INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (27, 'vcxbclmsmc-27', 1, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5NSwiaWF0IjoxNzk1ODcyNTk1LCJqdGkiOiIyOGMxM2MzZGJlZjk0MWY4ODAzNzA2ZGMxNzM1ZDNjNCIsInVzZXJfaWQiOjEyfQ.GOAzqNJGl37xy3fs9O5H5DpYlsSNyBwg5vcXbCLMSmc', '2036-11-25 13:29:55+00', '2026-09-18 07:20:35.023376+00', '2026-09-19 07:20:35.023376+00', 'a	b
c', 12);
INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (28, 'tyvqcktf5c-28', 1, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5NSwiaWF0IjoxNzk1ODcyNTk1LCJqdGkiOiI3Mjc2YTYwM2I3NTI0NzQ1YjhjNTFhOTY0ZjkzNWZiMyIsInVzZXJfaWQiOjEyfQ.Yr_b1MUFpdfcS6rEh5NhCvgFOnajVglYUtYvQckTf5c', '2036-11-25 13:29:55+00', '2026-10-29 21:05:36.023376+00', '2026-10-30 21:05:36.023376+00', 'O''Reilly; DROP TABLE --', 12);
INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (30, '7ektqxoemg-30', 1, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5NiwiaWF0IjoxNzk1ODcyNTk2LCJqdGkiOiI3MjMwOGVmY2M1YmQ0YThlYTE4MTU3NWU5NDdjZjA3MCIsInVzZXJfaWQiOjEzfQ.t3hWMya1b5jfLSDT-CMQokyqNupjUEfK57ektqXoeMg', '2036-11-25 13:29:56+00', '2026-07-30 03:28:57.023376+00', '2026-07-31 03:28:57.023376+00', 'Safari 15.6.1, iOS 15.6.1, iPhone', 13);
INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (31, '0lrqvnw6uc-31', 1, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5NiwiaWF0IjoxNzk1ODcyNTk2LCJqdGkiOiJlMzA3YTAwOTIwYzM0Nzc4YTA1ZWMxNTBiMDYwOWU4NSIsInVzZXJfaWQiOjE0fQ.hm6yFi0C_LvA3823-r7fr8jj_vHAxLzL20lrqvNw6Uc', '2036-11-25 13:29:56+00', '2026-10-03 22:25:42.023376+00', '2026-10-04 22:25:42.023376+00', 'O''Reilly; DROP TABLE --', 14);
INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (35, 'bmu0suulnw-35', 0, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MTk1MzU1MjU5OCwiaWF0IjoxNzk1ODcyNTk4LCJqdGkiOiIzZDBmN2U2MzI3ZGQ0ZTU3OGQwNmUwNmNlMzkyOTNhMiIsInVzZXJfaWQiOjE3fQ.Owj-N0RpV5MEIexrR7mClrcL1Dj3nenTybMU0sUuLNw', '2031-11-27 13:29:58+00', '2026-07-16 19:31:10.023376+00', '2026-07-17 19:31:10.023376+00', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', 17);
INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (36, '01_jcyjdho-36', 0, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MTk1MzU1MjU5OSwiaWF0IjoxNzk1ODcyNTk5LCJqdGkiOiIyMTgwMGVhZjM0OWY0NjE3OWZjOGU0MGUwMWNmYmQ1NSIsInVzZXJfaWQiOjE3fQ.ATv0c9ev7LB0vqK6Ecl1PsyGAfT3Nil3o01_JCYjdho', '2031-11-27 13:29:59+00', '2026-06-08 02:01:07.023376+00', '2026-06-09 02:01:07.023376+00', 'Chrome 105.0.0.0, OS X 10.15.7 64-bit', 17);
INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (39, 'bdulifkapi-39', 1, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjYwMCwiaWF0IjoxNzk1ODcyNjAwLCJqdGkiOiIxNjY2YTllMmFhMTE0NDI0OWE2YjdiYTZiNGJjZTUzOSIsInVzZXJfaWQiOjE4fQ.pmKLmMTI0A_8JY4Qo69jcyuXMCClNrxi1Ws_EGHvJWI', '2036-11-25 13:30:00+00', '2026-05-27 14:45:13.023376+00', '2026-05-28 14:45:13.023376+00', 'Ωμέγα браузер 浏览器 🦊', 18);
INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (41, 'gzyaywciwq-41', 1, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjYwMSwiaWF0IjoxNzk1ODcyNjAxLCJqdGkiOiI0NDVjNjBhNzkzZjU0Njk2ODJkNmFjNTkxNzBmZTE3YyIsInVzZXJfaWQiOjE4fQ.4gR0SF4trq1NnkZTR-YEJgP1FynjBlPpygZYAYWciwQ', '2026-11-19 13:30:03.023376+00', '2026-11-08 12:21:17.023376+00', '2026-11-09 12:21:17.023376+00', 'O''Reilly; DROP TABLE --', 18);
INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (45, 'yqgsjlbgtc-45', 1, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjYwMiwiaWF0IjoxNzk1ODcyNjAyLCJqdGkiOiIzODQzODkzYmNjMWU0OTJkYTYzYjQ4OGVkODhhMzZjYyIsInVzZXJfaWQiOjE5fQ.W18xG0gMLnwlXE7pyPTxl0P8QuGyqXmPIyQgsJLBgTc', '2036-11-25 13:30:02+00', '2026-06-07 03:16:03.023376+00', '2026-06-08 03:16:03.023376+00', 'Safari 15.6.1, iOS 15.6.1, iPhone', 19);
INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (46, 'e6vktaazyq-46', 0, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MTk1MzU1MjYwMiwiaWF0IjoxNzk1ODcyNjAyLCJqdGkiOiI0MzFhNGNkMGQ1OGE0YjEyYjllZDdjNDc0OWQ3MzhkOSIsInVzZXJfaWQiOjIwfQ.9QH16-ZYLzCbMH6_eJF9Wm7zEN02oX-hCE6VKtaAZyQ', '2031-11-27 13:30:02+00', '2026-07-04 00:36:16.023376+00', '2026-07-05 00:36:16.023376+00', 'Ωμέγα браузер 浏览器 🦊', 20);
INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (1, 'gltw2jemto-1', 0, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MTk1MzU1MjU4OCwiaWF0IjoxNzk1ODcyNTg4LCJqdGkiOiIzZTY1Y2QxNDg4NTM0YTUyOTkwOGM1MzEwMjYzNzFlYyIsInVzZXJfaWQiOjF9.4tfyqw2lka1q8FvlEZsO1ymNKeLQlDg-iGlTW2JeMTo', '2031-11-27 13:29:48+00', '2026-06-27 10:18:24.023376+00', '2026-06-28 10:18:24.023376+00', 'Ωμέγα браузер 浏览器 🦊', 1);
INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (19, '8duze9fafc-19', 0, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MTk1MzU1MjU5MywiaWF0IjoxNzk1ODcyNTkzLCJqdGkiOiI3Yzg1MTJjOTIxZDM0MDNmYWY3OTM1MTBkNzVmZmY4MyIsInVzZXJfaWQiOjl9.w0y14hyzGvCAdxFlxgvuNz3T2eIDwnIrB8duzE9fafc', '2031-11-27 13:29:53+00', '2026-10-03 23:30:17.023376+00', '2026-10-04 23:30:17.023376+00', 'O''Reilly; DROP TABLE --', 9);
INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (32, 'kcwrhl8qww-32', 0, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MTk1MzU1MjU5NiwiaWF0IjoxNzk1ODcyNTk2LCJqdGkiOiIyNDIyOTY5MGE5MzI0MzFhYjFmZmRhNzUyODYwZWZmNiIsInVzZXJfaWQiOjE0fQ.e9uV0jD_ZMh4PlH64i0flzFTuKhNa9nobkcwRhL8Qww', '2031-11-27 13:29:56+00', '2026-08-21 14:43:07.023376+00', '2026-08-22 14:43:07.023376+00', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', 14);
INSERT INTO public.simplejwt_multisessions_authenticationsession VALUES (47, 'lsrwxbar2g-47', 0, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MTk1MzU1MjYwMywiaWF0IjoxNzk1ODcyNjAzLCJqdGkiOiJiZTlkNzc5NzUwMGY0OWNjODFjN2RiYmZmZWRiNzUwYiIsInVzZXJfaWQiOjIwfQ.JoPG7NgKvvdKaDCH7pjTzb6XgZRpiZPHKLSrwxBar2g', '2031-11-27 13:30:03+00', '2026-09-08 13:51:40.023376+00', '2026-09-09 13:51:40.023376+00', 'Ωμέγα браузер 浏览器 🦊', 20);


--
-- Data for Name: token_blacklist_blacklistedtoken; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.token_blacklist_blacklistedtoken VALUES (1, '2026-11-28 13:29:49.240172+00', 4);
INSERT INTO public.token_blacklist_blacklistedtoken VALUES (2, '2026-11-28 13:29:49.415482+00', 6);
INSERT INTO public.token_blacklist_blacklistedtoken VALUES (3, '2026-11-28 13:29:49.760287+00', 9);
INSERT INTO public.token_blacklist_blacklistedtoken VALUES (4, '2026-11-28 13:29:49.928477+00', 11);
INSERT INTO public.token_blacklist_blacklistedtoken VALUES (5, '2026-11-28 13:29:50.393778+00', 14);
INSERT INTO public.token_blacklist_blacklistedtoken VALUES (6, '2026-11-28 13:29:51.020905+00', 18);
INSERT INTO public.token_blacklist_blacklistedtoken VALUES (7, '2026-11-28 13:29:51.477613+00', 20);
INSERT INTO public.token_blacklist_blacklistedtoken VALUES (8, '2026-11-28 13:29:52.307053+00', 22);
INSERT INTO public.token_blacklist_blacklistedtoken VALUES (9, '2026-11-28 13:29:52.321593+00', 23);
INSERT INTO public.token_blacklist_blacklistedtoken VALUES (10, '2026-11-28 13:29:53.80391+00', 27);
INSERT INTO public.token_blacklist_blacklistedtoken VALUES (11, '2026-11-28 13:29:54.313925+00', 31);
INSERT INTO public.token_blacklist_blacklistedtoken VALUES (12, '2026-11-28 13:29:54.357957+00', 32);
INSERT INTO public.token_blacklist_blacklistedtoken VALUES (13, '2026-11-28 13:29:56.11149+00', 38);
INSERT INTO public.token_blacklist_blacklistedtoken VALUES (14, '2026-11-28 13:29:56.116282+00', 39);
INSERT INTO public.token_blacklist_blacklistedtoken VALUES (15, '2026-11-28 13:29:57.64851+00', 43);
INSERT INTO public.token_blacklist_blacklistedtoken VALUES (16, '2026-11-28 13:29:57.909769+00', 44);
INSERT INTO public.token_blacklist_blacklistedtoken VALUES (17, '2026-11-28 13:29:57.928207+00', 45);
INSERT INTO public.token_blacklist_blacklistedtoken VALUES (18, '2026-11-28 13:30:00.022118+00', 48);
INSERT INTO public.token_blacklist_blacklistedtoken VALUES (19, '2026-11-28 13:30:00.033513+00', 49);
INSERT INTO public.token_blacklist_blacklistedtoken VALUES (20, '2026-11-28 13:30:00.236133+00', 50);
INSERT INTO public.token_blacklist_blacklistedtoken VALUES (21, '2026-11-28 13:30:00.245994+00', 51);
INSERT INTO public.token_blacklist_blacklistedtoken VALUES (22, '2026-11-28 13:30:00.458238+00', 52);
INSERT INTO public.token_blacklist_blacklistedtoken VALUES (23, '2026-11-28 13:30:00.948773+00', 54);
INSERT INTO public.token_blacklist_blacklistedtoken VALUES (24, '2026-11-28 13:30:01.241356+00', 57);
INSERT INTO public.token_blacklist_blacklistedtoken VALUES (25, '2026-11-28 13:30:01.639813+00', 58);


--
-- Data for Name: token_blacklist_outstandingtoken; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.token_blacklist_outstandingtoken VALUES (1, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU4OCwiaWF0IjoxNzk1ODcyNTg4LCJqdGkiOiIzZTY1Y2QxNDg4NTM0YTUyOTkwOGM1MzEwMjYzNzFlYyIsInVzZXJfaWQiOjF9.Nl2M4JUghsHHcY1oAmf4fSyf8oy9ohcaup3UsCpUB68', '2026-11-28 13:29:48.385296+00', '2036-11-25 13:29:48+00', 1, '3e65cd1488534a529908c531026371ec');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (2, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU4OCwiaWF0IjoxNzk1ODcyNTg4LCJqdGkiOiI1NjNjYTg3NDgwMDc0NjYzYTI3YWJkYzllZGQ0NTM0YSIsInVzZXJfaWQiOjF9.TLrIgsC5iC9gXMvQUEor0Gu12gSnm04CBqwVswenz0U', '2026-11-28 13:29:48.67442+00', '2036-11-25 13:29:48+00', 1, '563ca87480074663a27abdc9edd4534a');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (3, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU4OSwiaWF0IjoxNzk1ODcyNTg5LCJqdGkiOiI2ZTcyMTJiYWQ5ZTU0MDVkOTJjNzFlMDQ4NzU0MjY1ZiIsInVzZXJfaWQiOjN9.aNtG5Pm_mM1-tprZO33_22VPdr8jx8PI2caQ_Vf7Kbw', '2026-11-28 13:29:49.079479+00', '2036-11-25 13:29:49+00', 3, '6e7212bad9e5405d92c71e048754265f');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (4, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU4OSwiaWF0IjoxNzk1ODcyNTg5LCJqdGkiOiI4YmI3ODE4NWQ5ZTY0MjIyODYwZTVlOTNjNzcxZTdiNiIsInVzZXJfaWQiOjN9.hPPoTS1phuXOJyJF5vZj-TEAxaTYuoOyfyHUJLKqCrI', '2026-11-28 13:29:49.223388+00', '2036-11-25 13:29:49+00', 3, '8bb78185d9e64222860e5e93c771e7b6');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (5, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU4OSwiaWF0IjoxNzk1ODcyNTg5LCJqdGkiOiIwYzcyZWRkOGE3Njg0MTkwODU5YmUzNWQ4NGY2YzYwMiIsInVzZXJfaWQiOjN9.j9m9tGT6KaHvAofkZpFQCQDdv8l3Xm5dB4NmRromEYQ', '2026-11-28 13:29:49.236846+00', '2036-11-25 13:29:49+00', 3, '0c72edd8a7684190859be35d84f6c602');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (6, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU4OSwiaWF0IjoxNzk1ODcyNTg5LCJqdGkiOiJjOWM5MTYxYWMyZTU0MjM2YTg4ZmQxMGEyMGZiMzIxZSIsInVzZXJfaWQiOjN9.owEZBhtTkptTcbeyJxCQXWHkUhlYIrndAL5f8W-LXJg', '2026-11-28 13:29:49.399729+00', '2036-11-25 13:29:49+00', 3, 'c9c9161ac2e54236a88fd10a20fb321e');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (7, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU4OSwiaWF0IjoxNzk1ODcyNTg5LCJqdGkiOiJkMzQ5MDA3ZTRiMzk0OTAxYmFhMWZhMjIyYmNmOWQyZSIsInVzZXJfaWQiOjN9.L-MedKZhr9sB8UGk2o5SA8ZQFnlygN6lsW1FKyOVnGI', '2026-11-28 13:29:49.411076+00', '2036-11-25 13:29:49+00', 3, 'd349007e4b394901baa1fa222bcf9d2e');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (8, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU4OSwiaWF0IjoxNzk1ODcyNTg5LCJqdGkiOiI1ODUzMjUxMTQ2NGY0MmExYjlkY2NjZTNmNzU2NTlkNiIsInVzZXJfaWQiOjN9.jy35-bRJmLoDCBPeFfJlHVQLWOD4Y3eV4sZFpbtwR98', '2026-11-28 13:29:49.571455+00', '2036-11-25 13:29:49+00', 3, '58532511464f42a1b9dccce3f75659d6');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (9, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU4OSwiaWF0IjoxNzk1ODcyNTg5LCJqdGkiOiJlOWJlMWI1ODUzYzA0ZDgyODdkN2Q4Nzk4N2Q4MzZmNCIsInVzZXJfaWQiOjN9.NPrc68OkwJ7QRD_jMj8jvNuM48Ytclmvy9Jat-QwWeE', '2026-11-28 13:29:49.747397+00', '2036-11-25 13:29:49+00', 3, 'e9be1b5853c04d8287d7d87987d836f4');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (10, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU4OSwiaWF0IjoxNzk1ODcyNTg5LCJqdGkiOiJlMDhjZDIyMTg1YjI0NGVhYjM1Mjg0NTcwMGUwYWVlZiIsInVzZXJfaWQiOjN9.QOiuYLI67x4I49d_gkPyBORaSTpL0rexk6jLaCX9nJE', '2026-11-28 13:29:49.757295+00', '2036-11-25 13:29:49+00', 3, 'e08cd22185b244eab352845700e0aeef');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (11, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU4OSwiaWF0IjoxNzk1ODcyNTg5LCJqdGkiOiI3MzIxMTE2ZTEzZDU0MjAzYmY4OTYyNWIyN2FlOTVmMSIsInVzZXJfaWQiOjN9.zr5kKNVSNLHQNiRjgIv2vCjy8NNtocHGVRzZA_WuwVs', '2026-11-28 13:29:49.917368+00', '2036-11-25 13:29:49+00', 3, '7321116e13d54203bf89625b27ae95f1');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (12, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU4OSwiaWF0IjoxNzk1ODcyNTg5LCJqdGkiOiI0NDA3ZjhkZjE4YTE0NGNhYTkxNWViMzRjZWM5ZjQ5YSIsInVzZXJfaWQiOjN9.e_1HA2Xc1l_V-rE7nOxPdjwr6SZnOO3_VFwpuU_I-us', '2026-11-28 13:29:49.92131+00', '2036-11-25 13:29:49+00', 3, '4407f8df18a144caa915eb34cec9f49a');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (13, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5MCwiaWF0IjoxNzk1ODcyNTkwLCJqdGkiOiJlODhlYjkyODAzODQ0MTQ1OGE2NWE4YzRkNzdiNDc3OCIsInVzZXJfaWQiOjN9.LkfDDkL3KTdkFdfNT5dRQ_7RCog-laVwEEceXoVQmBY', '2026-11-28 13:29:50.033724+00', '2036-11-25 13:29:50+00', 3, 'e88eb928038441458a65a8c4d77b4778');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (14, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5MCwiaWF0IjoxNzk1ODcyNTkwLCJqdGkiOiIyOGU0Y2ZmMDc5NTQ0ZDExYTM4ODk1MjBjZDNkZDZkOCIsInVzZXJfaWQiOjR9.h291wuDZs8wrG5MicAbC_FjWi6BeP2zUheeORQrp3Qg', '2026-11-28 13:29:50.371624+00', '2036-11-25 13:29:50+00', 4, '28e4cff079544d11a3889520cd3dd6d8');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (15, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5MCwiaWF0IjoxNzk1ODcyNTkwLCJqdGkiOiJmNmQ3ZjI0ZDExMmU0ZDdhYTM1NzVkYzg1ODM0YzJkYyIsInVzZXJfaWQiOjR9.--Ttg7zmSJ0olwdXRGacUJe8pChnIx8OwKC6q_CSb00', '2026-11-28 13:29:50.390004+00', '2036-11-25 13:29:50+00', 4, 'f6d7f24d112e4d7aa3575dc85834c2dc');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (16, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5MCwiaWF0IjoxNzk1ODcyNTkwLCJqdGkiOiI1M2NmOGZiYmJmYTY0ZDhiOTVjY2QyMGM0NDk2NjQ1MyIsInVzZXJfaWQiOjR9.R4iHwH57sfmCiEwD_b7FDMGacimEKKPOLuVhcGix5Ss', '2026-11-28 13:29:50.53952+00', '2036-11-25 13:29:50+00', 4, '53cf8fbbbfa64d8b95ccd20c44966453');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (17, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5MCwiaWF0IjoxNzk1ODcyNTkwLCJqdGkiOiJlMzQ5ZjQ0MmUyZDg0ZTY5YWYyMzVhMWVjZmU4ZmY2YyIsInVzZXJfaWQiOjV9.JtIqTUXmPfpfm1mBaO9TjEhqxaD3MaV-gV5QDFQsisQ', '2026-11-28 13:29:50.858177+00', '2036-11-25 13:29:50+00', 5, 'e349f442e2d84e69af235a1ecfe8ff6c');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (18, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5MCwiaWF0IjoxNzk1ODcyNTkwLCJqdGkiOiJjMTk3NTZiOGI0MDY0OGY3YjQzMmRlMjcxNzMwNGM2OCIsInVzZXJfaWQiOjV9.5PU-0Li8Yio3RabCdVgPltOT9xfrFztl3ySUlT_mpFU', '2026-11-28 13:29:50.995652+00', '2036-11-25 13:29:50+00', 5, 'c19756b8b40648f7b432de2717304c68');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (19, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5MSwiaWF0IjoxNzk1ODcyNTkxLCJqdGkiOiIwNTkyYTEyMWNkOWQ0ZDkwYmQ2MmY5OWQ5MWQ3OGY1ZSIsInVzZXJfaWQiOjV9.jSDTwXPidiKBk5PHBtyDCNbzT_p2HTYdYqQp5wsR2_M', '2026-11-28 13:29:51.018693+00', '2036-11-25 13:29:51+00', 5, '0592a121cd9d4d90bd62f99d91d78f5e');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (20, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5MSwiaWF0IjoxNzk1ODcyNTkxLCJqdGkiOiI0OWI0ZGQxYWNlMTI0Mzg4YjMyZGJkNWQwMDY3ZjgxMyIsInVzZXJfaWQiOjZ9.Adua66oFCt_ZnYxk0txGa3on2Ymjjbnkvx5H-KUtdSk', '2026-11-28 13:29:51.466037+00', '2036-11-25 13:29:51+00', 6, '49b4dd1ace124388b32dbd5d0067f813');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (21, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5MSwiaWF0IjoxNzk1ODcyNTkxLCJqdGkiOiIxN2I2OGZjZTc5YjU0ODdkYTQ5YzhkOTkyZWM0YjBlYyIsInVzZXJfaWQiOjZ9.8LMybp7KWDU7wnrD_3vOo7zTgAjCjdIqZpwdfxVxZLw', '2026-11-28 13:29:51.641943+00', '2036-11-25 13:29:51+00', 6, '17b68fce79b5487da49c8d992ec4b0ec');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (22, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5MiwiaWF0IjoxNzk1ODcyNTkyLCJqdGkiOiI0ODY3MzIwODBkMzE0ZTFiODI0OTBmYzY4MWVhZDY0NiIsInVzZXJfaWQiOjh9.zorVhvygHd16qVVJw74gCjEq2gvEINQhpIzJQF5chRs', '2026-11-28 13:29:52.295101+00', '2036-11-25 13:29:52+00', 8, '486732080d314e1b82490fc681ead646');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (23, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5MiwiaWF0IjoxNzk1ODcyNTkyLCJqdGkiOiI0Y2U1NjQ3ZWNhMDg0N2U4OWFkMGZkNjViMjFmODI1ZCIsInVzZXJfaWQiOjh9.VQz-Ma0IUPVIzHeuAggW1jvH68DS11fRwaUjRlOGlrg', '2026-11-28 13:29:52.301951+00', '2036-11-25 13:29:52+00', 8, '4ce5647eca0847e89ad0fd65b21f825d');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (24, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5MiwiaWF0IjoxNzk1ODcyNTkyLCJqdGkiOiJiNTJiYjcxZGQwMTI0YTFkYmYzNzE5OGU2ZTM5YWY0NyIsInVzZXJfaWQiOjh9.KiUy7Nfz4ut1S_dalkT-bSZEXhNYsrTRtu4A_YD4u68', '2026-11-28 13:29:52.429316+00', '2036-11-25 13:29:52+00', 8, 'b52bb71dd0124a1dbf37198e6e39af47');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (25, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5MiwiaWF0IjoxNzk1ODcyNTkyLCJqdGkiOiJjMTQxYTgzZGJlZTA0ZjZjYmU5NjdkMTNkOGJmOTVhNyIsInVzZXJfaWQiOjh9.K0FIZYdRAzhfwcB9P3tS0jBgXsapdIAqtAIe0JkJrEg', '2026-11-28 13:29:52.626106+00', '2036-11-25 13:29:52+00', 8, 'c141a83dbee04f6cbe967d13d8bf95a7');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (26, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5MywiaWF0IjoxNzk1ODcyNTkzLCJqdGkiOiI3Yzg1MTJjOTIxZDM0MDNmYWY3OTM1MTBkNzVmZmY4MyIsInVzZXJfaWQiOjl9.8LevM6J-PSdohzkglgxSr_MbEvI7aiO66RRWQMRmPLs', '2026-11-28 13:29:53.119361+00', '2036-11-25 13:29:53+00', 9, '7c8512c921d3403faf793510d75fff83');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (27, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5MywiaWF0IjoxNzk1ODcyNTkzLCJqdGkiOiJhMmQzOWJiMmVkNWE0NjljYTEzZWJhYzQwZjcxNWVhNiIsInVzZXJfaWQiOjExfQ.VY9iq91svIGR8SBNphhhA_GBs6xuv4JEn01v5Jdj1Ng', '2026-11-28 13:29:53.7925+00', '2036-11-25 13:29:53+00', 11, 'a2d39bb2ed5a469ca13ebac40f715ea6');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (28, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5MywiaWF0IjoxNzk1ODcyNTkzLCJqdGkiOiI2Y2EzMWM3M2RjODY0OTg4YTNlMTRlZTYxNmNkYTRmZiIsInVzZXJfaWQiOjExfQ.7RV-oaWcNWAHDZegOSWbyj-i9HN0_Xw_b-YSaqliJfc', '2026-11-28 13:29:53.801747+00', '2036-11-25 13:29:53+00', 11, '6ca31c73dc864988a3e14ee616cda4ff');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (29, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5MywiaWF0IjoxNzk1ODcyNTkzLCJqdGkiOiJkN2ZmODE4NTc4NDE0MTE1ODMzZTY5Yjk1ZWM2OThjOSIsInVzZXJfaWQiOjExfQ.Fl7Yp6ix4cFt7ymCxpJ7X7TKiTG3SxJG0-l8cPTZ08w', '2026-11-28 13:29:53.902691+00', '2036-11-25 13:29:53+00', 11, 'd7ff818578414115833e69b95ec698c9');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (30, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5NCwiaWF0IjoxNzk1ODcyNTk0LCJqdGkiOiJlYmE0MGE5MzVjOGQ0OWFlOTZmN2E4NTYxZTMxZmM1NCIsInVzZXJfaWQiOjExfQ.f6Xg7ca4Fr9FblCLDj9ZZ9QF6v90_Ol4M0HsVxXYUjY', '2026-11-28 13:29:54.070559+00', '2036-11-25 13:29:54+00', 11, 'eba40a935c8d49ae96f7a8561e31fc54');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (31, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5NCwiaWF0IjoxNzk1ODcyNTk0LCJqdGkiOiI2NmQ3Mjk4NGNlYzg0ODQxOGUxYmE5Y2EyMGQxYmQzNSIsInVzZXJfaWQiOjExfQ.ne6hcKVxPuQ7bIiIbivv9I14X4H3oEKLHiwzLZkhYEc', '2026-11-28 13:29:54.280652+00', '2036-11-25 13:29:54+00', 11, '66d72984cec848418e1ba9ca20d1bd35');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (32, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5NCwiaWF0IjoxNzk1ODcyNTk0LCJqdGkiOiJmNjBlYTUxMTRhN2M0YmZlODI0NTMzYzJmODcwMmNjZCIsInVzZXJfaWQiOjExfQ.XyE_0goYSfwdIeqfxbX4JiUX-zHEJkHW_THE2VrTQoY', '2026-11-28 13:29:54.311859+00', '2036-11-25 13:29:54+00', 11, 'f60ea5114a7c4bfe824533c2f8702ccd');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (33, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5NCwiaWF0IjoxNzk1ODcyNTk0LCJqdGkiOiJhMjlhN2YxZWZhYzc0M2JlYWIyZGVmZGY1MzYxYjczNSIsInVzZXJfaWQiOjExfQ.5r2Ob7pdYMcWpQeSE1THR_ULVjuCqOhrKs1KZZLXAn4', '2026-11-28 13:29:54.564397+00', '2036-11-25 13:29:54+00', 11, 'a29a7f1efac743beab2defdf5361b735');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (34, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5NCwiaWF0IjoxNzk1ODcyNTk0LCJqdGkiOiIyNGRiNmUwYzgwYzY0MzM3YTcxM2I5YTUwODMxNGZiOSIsInVzZXJfaWQiOjExfQ.lpzjuRZhlxWRFsa80hN_V_Sa8kSPmIgrcnl-OxVEqOw', '2026-11-28 13:29:54.835397+00', '2036-11-25 13:29:54+00', 11, '24db6e0c80c64337a713b9a508314fb9');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (35, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5NSwiaWF0IjoxNzk1ODcyNTk1LCJqdGkiOiI5MTY1Y2ExMTMwNDc0NmMzYjkxYjY2OGQ4YzBhODU2OSIsInVzZXJfaWQiOjExfQ.52b8ArrhXDimQQCpHSuSnE6wMY0nRliEdAkwXmAjnik', '2026-11-28 13:29:55.071368+00', '2036-11-25 13:29:55+00', 11, '9165ca11304746c3b91b668d8c0a8569');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (36, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5NSwiaWF0IjoxNzk1ODcyNTk1LCJqdGkiOiIyOGMxM2MzZGJlZjk0MWY4ODAzNzA2ZGMxNzM1ZDNjNCIsInVzZXJfaWQiOjEyfQ.GOAzqNJGl37xy3fs9O5H5DpYlsSNyBwg5vcXbCLMSmc', '2026-11-28 13:29:55.401059+00', '2036-11-25 13:29:55+00', 12, '28c13c3dbef941f8803706dc1735d3c4');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (37, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5NSwiaWF0IjoxNzk1ODcyNTk1LCJqdGkiOiI3Mjc2YTYwM2I3NTI0NzQ1YjhjNTFhOTY0ZjkzNWZiMyIsInVzZXJfaWQiOjEyfQ.Yr_b1MUFpdfcS6rEh5NhCvgFOnajVglYUtYvQckTf5c', '2026-11-28 13:29:55.53941+00', '2036-11-25 13:29:55+00', 12, '7276a603b7524745b8c51a964f935fb3');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (38, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5NiwiaWF0IjoxNzk1ODcyNTk2LCJqdGkiOiI1NjE0MTFkNjE2MTA0YjQ4YWQ4ZGYxMzJkYzUwMTY5NSIsInVzZXJfaWQiOjEzfQ.H-L9UEVxRlf5UCsAeTOJfx4S5JfHV_ku02U8NlpBLl0', '2026-11-28 13:29:56.086528+00', '2036-11-25 13:29:56+00', 13, '561411d616104b48ad8df132dc501695');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (39, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5NiwiaWF0IjoxNzk1ODcyNTk2LCJqdGkiOiJmNmJjNzJmN2UwODg0ZmM0OTFiNWI2MmNkMTY3MWI0ZSIsInVzZXJfaWQiOjEzfQ.n6RzKEuSHxrTX5SMQ8Cg7YCSZMUS00y3zxQ5vLnid3o', '2026-11-28 13:29:56.108858+00', '2036-11-25 13:29:56+00', 13, 'f6bc72f7e0884fc491b5b62cd1671b4e');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (40, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5NiwiaWF0IjoxNzk1ODcyNTk2LCJqdGkiOiI3MjMwOGVmY2M1YmQ0YThlYTE4MTU3NWU5NDdjZjA3MCIsInVzZXJfaWQiOjEzfQ.t3hWMya1b5jfLSDT-CMQokyqNupjUEfK57ektqXoeMg', '2026-11-28 13:29:56.328656+00', '2036-11-25 13:29:56+00', 13, '72308efcc5bd4a8ea181575e947cf070');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (41, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5NiwiaWF0IjoxNzk1ODcyNTk2LCJqdGkiOiJlMzA3YTAwOTIwYzM0Nzc4YTA1ZWMxNTBiMDYwOWU4NSIsInVzZXJfaWQiOjE0fQ.hm6yFi0C_LvA3823-r7fr8jj_vHAxLzL20lrqvNw6Uc', '2026-11-28 13:29:56.81542+00', '2036-11-25 13:29:56+00', 14, 'e307a00920c34778a05ec150b0609e85');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (42, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5NiwiaWF0IjoxNzk1ODcyNTk2LCJqdGkiOiIyNDIyOTY5MGE5MzI0MzFhYjFmZmRhNzUyODYwZWZmNiIsInVzZXJfaWQiOjE0fQ.uWAQPDUvcZ0JcVgiAzNeaFWu5zBFRUWTJuof1IS8MII', '2026-11-28 13:29:56.953887+00', '2036-11-25 13:29:56+00', 14, '24229690a932431ab1ffda752860eff6');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (43, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5NywiaWF0IjoxNzk1ODcyNTk3LCJqdGkiOiJiMDI3OWFjMTcxMWQ0MGZkYTY0NDhkMTUxNTg2OGEyNyIsInVzZXJfaWQiOjE2fQ.QhyHehGDiKqo9CVP89Bg8USgSTDNVxQwHwgO49ujm6c', '2026-11-28 13:29:57.633577+00', '2036-11-25 13:29:57+00', 16, 'b0279ac1711d40fda6448d1515868a27');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (44, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5NywiaWF0IjoxNzk1ODcyNTk3LCJqdGkiOiJhODlmZDNlMjBlODg0NWY3YTgzMWU4ZWEyNjIxZjJmYSIsInVzZXJfaWQiOjE2fQ.eOtn8zaZELTTr1zZL17JC9uVPMzAzgPH5kkgfyaR4iw', '2026-11-28 13:29:57.887408+00', '2036-11-25 13:29:57+00', 16, 'a89fd3e20e8845f7a831e8ea2621f2fa');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (45, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5NywiaWF0IjoxNzk1ODcyNTk3LCJqdGkiOiJjNmYxZjQzZGEzZGY0ZjQ2YjQwMWQ4ODUwNTE1YzQ3MSIsInVzZXJfaWQiOjE2fQ.wD9lW4XDEKT79nyzf0kqR2XvYo5H47xIHgIn53fLRus', '2026-11-28 13:29:57.899672+00', '2036-11-25 13:29:57+00', 16, 'c6f1f43da3df4f46b401d8850515c471');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (46, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5OCwiaWF0IjoxNzk1ODcyNTk4LCJqdGkiOiIzZDBmN2U2MzI3ZGQ0ZTU3OGQwNmUwNmNlMzkyOTNhMiIsInVzZXJfaWQiOjE3fQ.atQno6E0BV0sWKhJdhbKsLGPHg9sj7WT45U73YBrWTw', '2026-11-28 13:29:58.684114+00', '2036-11-25 13:29:58+00', 17, '3d0f7e6327dd4e578d06e06ce39293a2');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (47, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjU5OSwiaWF0IjoxNzk1ODcyNTk5LCJqdGkiOiIyMTgwMGVhZjM0OWY0NjE3OWZjOGU0MGUwMWNmYmQ1NSIsInVzZXJfaWQiOjE3fQ.DdNJnaqXM7VEbNocOeQB19Oobt2e7EAg0vBJoejf53g', '2026-11-28 13:29:59.149947+00', '2036-11-25 13:29:59+00', 17, '21800eaf349f46179fc8e40e01cfbd55');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (48, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjYwMCwiaWF0IjoxNzk1ODcyNjAwLCJqdGkiOiJkNjg5NDJkNTgwNjA0ZmJhOTU3NTRjNjRkYjRmZjlhMyIsInVzZXJfaWQiOjE4fQ.8eszAGqfwbVK689DZJoqn9VLpvA9XHhCvSgnRrD3n1Q', '2026-11-28 13:30:00.003436+00', '2036-11-25 13:30:00+00', 18, 'd68942d580604fba95754c64db4ff9a3');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (49, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjYwMCwiaWF0IjoxNzk1ODcyNjAwLCJqdGkiOiI2MDZkZTVhZmRmMDQ0MWRmYWU3MDM4MDViYjlmMDQ5YiIsInVzZXJfaWQiOjE4fQ.aVwBVC8Tv1QIhmdVCBgIzZpa-3k3FGI4GeggKE66O1k', '2026-11-28 13:30:00.016329+00', '2036-11-25 13:30:00+00', 18, '606de5afdf0441dfae703805bb9f049b');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (50, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjYwMCwiaWF0IjoxNzk1ODcyNjAwLCJqdGkiOiI3NTI1MmM1ODQ0MmM0OGU0YmVhZWE5OWMxNWEyZmNiYiIsInVzZXJfaWQiOjE4fQ.z_0UD8r26Ki8vbfHOfCdpU0YhNnSsbtFm3MFmzupeCg', '2026-11-28 13:30:00.215216+00', '2036-11-25 13:30:00+00', 18, '75252c58442c48e4beaea99c15a2fcbb');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (51, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjYwMCwiaWF0IjoxNzk1ODcyNjAwLCJqdGkiOiJjZDRmZTZjZDE3NjQ0ZTMwOTJmOWUxNGVlZGMwNjM3NCIsInVzZXJfaWQiOjE4fQ.maskN9DYlCZQ4XGF03QO5LFlucj2l2EXQMi9UEb7yDU', '2026-11-28 13:30:00.227449+00', '2036-11-25 13:30:00+00', 18, 'cd4fe6cd17644e3092f9e14eedc06374');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (52, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjYwMCwiaWF0IjoxNzk1ODcyNjAwLCJqdGkiOiI5NmZlMTg0N2UyYWM0MTI5YjQ3NGJlNWI2ZmZkZjNmMyIsInVzZXJfaWQiOjE4fQ.S2ZO2KhefSOsO511SA08-Ww9sF3MmKfRFBduLIFKAPI', '2026-11-28 13:30:00.44019+00', '2036-11-25 13:30:00+00', 18, '96fe1847e2ac4129b474be5b6ffdf3f3');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (53, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjYwMCwiaWF0IjoxNzk1ODcyNjAwLCJqdGkiOiIxNjY2YTllMmFhMTE0NDI0OWE2YjdiYTZiNGJjZTUzOSIsInVzZXJfaWQiOjE4fQ.pmKLmMTI0A_8JY4Qo69jcyuXMCClNrxi1Ws_EGHvJWI', '2026-11-28 13:30:00.451988+00', '2036-11-25 13:30:00+00', 18, '1666a9e2aa1144249a6b7ba6b4bce539');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (54, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjYwMCwiaWF0IjoxNzk1ODcyNjAwLCJqdGkiOiIxMDk5YzBjMWNkNDQ0NzZlOTJhOWJmZjU2YzA0MjU2MiIsInVzZXJfaWQiOjE4fQ.niyGV6SknJqNB0J2ZN5OtVFMSpnn9mR_8mjAMJg7S3A', '2026-11-28 13:30:00.900008+00', '2036-11-25 13:30:00+00', 18, '1099c0c1cd44476e92a9bff56c042562');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (55, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjYwMCwiaWF0IjoxNzk1ODcyNjAwLCJqdGkiOiI3N2E0NmEyMjU5OTU0YWFiYTMwM2ZmNWM0N2FmY2M0ZCIsInVzZXJfaWQiOjE4fQ.f4Kb0fAsYYuzSkNoDTG_sCeKI7uvIytALVbdw3hBdwU', '2026-11-28 13:30:00.943488+00', '2036-11-25 13:30:00+00', 18, '77a46a2259954aaba303ff5c47afcc4d');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (56, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjYwMSwiaWF0IjoxNzk1ODcyNjAxLCJqdGkiOiI0NDVjNjBhNzkzZjU0Njk2ODJkNmFjNTkxNzBmZTE3YyIsInVzZXJfaWQiOjE4fQ.4gR0SF4trq1NnkZTR-YEJgP1FynjBlPpygZYAYWciwQ', '2026-11-28 13:30:01.115423+00', '2036-11-25 13:30:01+00', 18, '445c60a793f5469682d6ac59170fe17c');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (57, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjYwMSwiaWF0IjoxNzk1ODcyNjAxLCJqdGkiOiIxNTcyZDZlYjVmOTI0ZTE0YmEyZmVmNzMyMDcyNTQ4NSIsInVzZXJfaWQiOjE4fQ.9YR-U_CIEnzegDgAxkrdmEU2mb3duc-t2ZlTdRl9Vzs', '2026-11-28 13:30:01.231513+00', '2036-11-25 13:30:01+00', 18, '1572d6eb5f924e14ba2fef7320725485');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (58, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjYwMSwiaWF0IjoxNzk1ODcyNjAxLCJqdGkiOiIxZTM5MDVkNmMyYTU0MjMxODAzMzM0OGNjYzcxMWUyZiIsInVzZXJfaWQiOjE5fQ.YP_ONicuCOsNwGkXea_Puj8BY0nelUg9EQrpAuezuYo', '2026-11-28 13:30:01.592657+00', '2036-11-25 13:30:01+00', 19, '1e3905d6c2a542318033348ccc711e2f');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (59, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjYwMSwiaWF0IjoxNzk1ODcyNjAxLCJqdGkiOiJmNTlmNzEzYmFjOWE0MDdkYWY0MDEyY2VkMjBmYjhlOSIsInVzZXJfaWQiOjE5fQ.WiRAlvQQsv16u2OZARk2bvg56aPJdT41tvyPgptwE2s', '2026-11-28 13:30:01.987544+00', '2036-11-25 13:30:01+00', 19, 'f59f713bac9a407daf4012ced20fb8e9');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (60, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjYwMiwiaWF0IjoxNzk1ODcyNjAyLCJqdGkiOiIzODQzODkzYmNjMWU0OTJkYTYzYjQ4OGVkODhhMzZjYyIsInVzZXJfaWQiOjE5fQ.W18xG0gMLnwlXE7pyPTxl0P8QuGyqXmPIyQgsJLBgTc', '2026-11-28 13:30:02.255448+00', '2036-11-25 13:30:02+00', 19, '3843893bcc1e492da63b488ed88a36cc');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (61, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjYwMiwiaWF0IjoxNzk1ODcyNjAyLCJqdGkiOiI0MzFhNGNkMGQ1OGE0YjEyYjllZDdjNDc0OWQ3MzhkOSIsInVzZXJfaWQiOjIwfQ.wkxpjWvgeoQi-gDDVCaB4YEzG63rQ9mgM3Ur-IB2MOU', '2026-11-28 13:30:02.769223+00', '2036-11-25 13:30:02+00', 20, '431a4cd0d58a4b12b9ed7c4749d738d9');
INSERT INTO public.token_blacklist_outstandingtoken VALUES (62, 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MjExMTIzMjYwMywiaWF0IjoxNzk1ODcyNjAzLCJqdGkiOiJiZTlkNzc5NzUwMGY0OWNjODFjN2RiYmZmZWRiNzUwYiIsInVzZXJfaWQiOjIwfQ.O_uki-GCYMGvrZXO_DDZtjXW5jLsGcui3bThZtTwMvg', '2026-11-28 13:30:03.008384+00', '2036-11-25 13:30:03+00', 20, 'be9d7797500f49cc81c7dbbffedb750b');


--
-- Name: auth_group_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.auth_group_id_seq', 1, false);


--
-- Name: auth_group_permissions_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.auth_group_permissions_id_seq', 1, false);


--
-- Name: auth_permission_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.auth_permission_id_seq', 28, true);


--
-- Name: auth_user_groups_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.auth_user_groups_id_seq', 1, false);


--
-- Name: auth_user_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.auth_user_id_seq', 20, true);


--
-- Name: auth_user_user_permissions_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.auth_user_user_permissions_id_seq', 1, false);


--
-- Name: django_content_type_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.django_content_type_id_seq', 7, true);


--
-- Name: django_migrations_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.django_migrations_id_seq', 26, true);


--
-- Name: simplejwt_multisessions_authenticationsession_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.simplejwt_multisessions_authenticationsession_id_seq', 47, true);


--
-- Name: token_blacklist_blacklistedtoken_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.token_blacklist_blacklistedtoken_id_seq', 25, true);


--
-- Name: token_blacklist_outstandingtoken_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.token_blacklist_outstandingtoken_id_seq', 62, true);


--
-- Name: auth_group auth_group_name_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_group
    ADD CONSTRAINT auth_group_name_key UNIQUE (name);


--
-- Name: auth_group_permissions auth_group_permissions_group_id_permission_id_0cd325b0_uniq; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_group_permissions
    ADD CONSTRAINT auth_group_permissions_group_id_permission_id_0cd325b0_uniq UNIQUE (group_id, permission_id);


--
-- Name: auth_group_permissions auth_group_permissions_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_group_permissions
    ADD CONSTRAINT auth_group_permissions_pkey PRIMARY KEY (id);


--
-- Name: auth_group auth_group_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_group
    ADD CONSTRAINT auth_group_pkey PRIMARY KEY (id);


--
-- Name: auth_permission auth_permission_content_type_id_codename_01ab375a_uniq; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_permission
    ADD CONSTRAINT auth_permission_content_type_id_codename_01ab375a_uniq UNIQUE (content_type_id, codename);


--
-- Name: auth_permission auth_permission_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_permission
    ADD CONSTRAINT auth_permission_pkey PRIMARY KEY (id);


--
-- Name: auth_user_groups auth_user_groups_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_user_groups
    ADD CONSTRAINT auth_user_groups_pkey PRIMARY KEY (id);


--
-- Name: auth_user_groups auth_user_groups_user_id_group_id_94350c0c_uniq; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_user_groups
    ADD CONSTRAINT auth_user_groups_user_id_group_id_94350c0c_uniq UNIQUE (user_id, group_id);


--
-- Name: auth_user auth_user_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_user
    ADD CONSTRAINT auth_user_pkey PRIMARY KEY (id);


--
-- Name: auth_user_user_permissions auth_user_user_permissions_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_user_user_permissions
    ADD CONSTRAINT auth_user_user_permissions_pkey PRIMARY KEY (id);


--
-- Name: auth_user_user_permissions auth_user_user_permissions_user_id_permission_id_14a6b632_uniq; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_user_user_permissions
    ADD CONSTRAINT auth_user_user_permissions_user_id_permission_id_14a6b632_uniq UNIQUE (user_id, permission_id);


--
-- Name: auth_user auth_user_username_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_user
    ADD CONSTRAINT auth_user_username_key UNIQUE (username);


--
-- Name: django_content_type django_content_type_app_label_model_76bd3d3b_uniq; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.django_content_type
    ADD CONSTRAINT django_content_type_app_label_model_76bd3d3b_uniq UNIQUE (app_label, model);


--
-- Name: django_content_type django_content_type_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.django_content_type
    ADD CONSTRAINT django_content_type_pkey PRIMARY KEY (id);


--
-- Name: django_migrations django_migrations_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.django_migrations
    ADD CONSTRAINT django_migrations_pkey PRIMARY KEY (id);


--
-- Name: simplejwt_multisessions_authenticationsession simplejwt_multisessions_authenticationsession_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.simplejwt_multisessions_authenticationsession
    ADD CONSTRAINT simplejwt_multisessions_authenticationsession_pkey PRIMARY KEY (id);


--
-- Name: simplejwt_multisessions_authenticationsession simplejwt_multisessions_authenticationsession_session_id_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.simplejwt_multisessions_authenticationsession
    ADD CONSTRAINT simplejwt_multisessions_authenticationsession_session_id_key UNIQUE (session_id);


--
-- Name: token_blacklist_blacklistedtoken token_blacklist_blacklistedtoken_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.token_blacklist_blacklistedtoken
    ADD CONSTRAINT token_blacklist_blacklistedtoken_pkey PRIMARY KEY (id);


--
-- Name: token_blacklist_blacklistedtoken token_blacklist_blacklistedtoken_token_id_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.token_blacklist_blacklistedtoken
    ADD CONSTRAINT token_blacklist_blacklistedtoken_token_id_key UNIQUE (token_id);


--
-- Name: token_blacklist_outstandingtoken token_blacklist_outstandingtoken_jti_hex_d9bdf6f7_uniq; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.token_blacklist_outstandingtoken
    ADD CONSTRAINT token_blacklist_outstandingtoken_jti_hex_d9bdf6f7_uniq UNIQUE (jti);


--
-- Name: token_blacklist_outstandingtoken token_blacklist_outstandingtoken_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.token_blacklist_outstandingtoken
    ADD CONSTRAINT token_blacklist_outstandingtoken_pkey PRIMARY KEY (id);


--
-- Name: auth_group_name_a6ea08ec_like; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX auth_group_name_a6ea08ec_like ON public.auth_group USING btree (name varchar_pattern_ops);


--
-- Name: auth_group_permissions_group_id_b120cbf9; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX auth_group_permissions_group_id_b120cbf9 ON public.auth_group_permissions USING btree (group_id);


--
-- Name: auth_group_permissions_permission_id_84c5c92e; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX auth_group_permissions_permission_id_84c5c92e ON public.auth_group_permissions USING btree (permission_id);


--
-- Name: auth_permission_content_type_id_2f476e4b; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX auth_permission_content_type_id_2f476e4b ON public.auth_permission USING btree (content_type_id);


--
-- Name: auth_user_groups_group_id_97559544; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX auth_user_groups_group_id_97559544 ON public.auth_user_groups USING btree (group_id);


--
-- Name: auth_user_groups_user_id_6a12ed8b; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX auth_user_groups_user_id_6a12ed8b ON public.auth_user_groups USING btree (user_id);


--
-- Name: auth_user_user_permissions_permission_id_1fbb5f2c; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX auth_user_user_permissions_permission_id_1fbb5f2c ON public.auth_user_user_permissions USING btree (permission_id);


--
-- Name: auth_user_user_permissions_user_id_a95ead1b; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX auth_user_user_permissions_user_id_a95ead1b ON public.auth_user_user_permissions USING btree (user_id);


--
-- Name: auth_user_username_6821ab7c_like; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX auth_user_username_6821ab7c_like ON public.auth_user USING btree (username varchar_pattern_ops);


--
-- Name: simplejwt_multisessions__session_id_28fdd4f8_like; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX simplejwt_multisessions__session_id_28fdd4f8_like ON public.simplejwt_multisessions_authenticationsession USING btree (session_id varchar_pattern_ops);


--
-- Name: simplejwt_multisessions_authenticationsession_user_id_42b9e81a; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX simplejwt_multisessions_authenticationsession_user_id_42b9e81a ON public.simplejwt_multisessions_authenticationsession USING btree (user_id);


--
-- Name: token_blacklist_outstandingtoken_jti_hex_d9bdf6f7_like; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX token_blacklist_outstandingtoken_jti_hex_d9bdf6f7_like ON public.token_blacklist_outstandingtoken USING btree (jti varchar_pattern_ops);


--
-- Name: token_blacklist_outstandingtoken_user_id_83bc629a; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX token_blacklist_outstandingtoken_user_id_83bc629a ON public.token_blacklist_outstandingtoken USING btree (user_id);


--
-- Name: auth_group_permissions auth_group_permissio_permission_id_84c5c92e_fk_auth_perm; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_group_permissions
    ADD CONSTRAINT auth_group_permissio_permission_id_84c5c92e_fk_auth_perm FOREIGN KEY (permission_id) REFERENCES public.auth_permission(id) DEFERRABLE INITIALLY DEFERRED;


--
-- Name: auth_group_permissions auth_group_permissions_group_id_b120cbf9_fk_auth_group_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_group_permissions
    ADD CONSTRAINT auth_group_permissions_group_id_b120cbf9_fk_auth_group_id FOREIGN KEY (group_id) REFERENCES public.auth_group(id) DEFERRABLE INITIALLY DEFERRED;


--
-- Name: auth_permission auth_permission_content_type_id_2f476e4b_fk_django_co; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_permission
    ADD CONSTRAINT auth_permission_content_type_id_2f476e4b_fk_django_co FOREIGN KEY (content_type_id) REFERENCES public.django_content_type(id) DEFERRABLE INITIALLY DEFERRED;


--
-- Name: auth_user_groups auth_user_groups_group_id_97559544_fk_auth_group_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_user_groups
    ADD CONSTRAINT auth_user_groups_group_id_97559544_fk_auth_group_id FOREIGN KEY (group_id) REFERENCES public.auth_group(id) DEFERRABLE INITIALLY DEFERRED;


--
-- Name: auth_user_groups auth_user_groups_user_id_6a12ed8b_fk_auth_user_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_user_groups
    ADD CONSTRAINT auth_user_groups_user_id_6a12ed8b_fk_auth_user_id FOREIGN KEY (user_id) REFERENCES public.auth_user(id) DEFERRABLE INITIALLY DEFERRED;


--
-- Name: auth_user_user_permissions auth_user_user_permi_permission_id_1fbb5f2c_fk_auth_perm; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_user_user_permissions
    ADD CONSTRAINT auth_user_user_permi_permission_id_1fbb5f2c_fk_auth_perm FOREIGN KEY (permission_id) REFERENCES public.auth_permission(id) DEFERRABLE INITIALLY DEFERRED;


--
-- Name: auth_user_user_permissions auth_user_user_permissions_user_id_a95ead1b_fk_auth_user_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_user_user_permissions
    ADD CONSTRAINT auth_user_user_permissions_user_id_a95ead1b_fk_auth_user_id FOREIGN KEY (user_id) REFERENCES public.auth_user(id) DEFERRABLE INITIALLY DEFERRED;


--
-- Name: simplejwt_multisessions_authenticationsession simplejwt_multisessi_user_id_42b9e81a_fk_auth_user; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.simplejwt_multisessions_authenticationsession
    ADD CONSTRAINT simplejwt_multisessi_user_id_42b9e81a_fk_auth_user FOREIGN KEY (user_id) REFERENCES public.auth_user(id) DEFERRABLE INITIALLY DEFERRED;


--
-- Name: token_blacklist_blacklistedtoken token_blacklist_blacklistedtoken_token_id_3cc7fe56_fk; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.token_blacklist_blacklistedtoken
    ADD CONSTRAINT token_blacklist_blacklistedtoken_token_id_3cc7fe56_fk FOREIGN KEY (token_id) REFERENCES public.token_blacklist_outstandingtoken(id) DEFERRABLE INITIALLY DEFERRED;


--
-- Name: token_blacklist_outstandingtoken token_blacklist_outs_user_id_83bc629a_fk_auth_user; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.token_blacklist_outstandingtoken
    ADD CONSTRAINT token_blacklist_outs_user_id_83bc629a_fk_auth_user FOREIGN KEY (user_id) REFERENCES public.auth_user(id) DEFERRABLE INITIALLY DEFERRED;


--
-- PostgreSQL database dump complete
--


