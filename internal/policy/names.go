package policy

import "strings"

// sessionNames are names that only a server-side session ever has and that no
// script writes, so that they can be stored even without HttpOnly: PHP does not
// set it by default, nor did old versions of the others.
var sessionNames = []string{
	"PHPSESSID",
	"JSESSIONID",
	"ASP.NET_SessionId",
	"ASPSESSIONID*",
	"CFID",
	"CFTOKEN",
}

// browserNames are names that stay in the browser, because scripts of
// well-known applications read them there.
var browserNames = []string{
	// Double-submit tokens against request forgery.
	"csrftoken", "csrf-token", "CSRF-TOKEN", "XSRF-TOKEN", "xsrf-token",
	"csrf_access_token", "csrf_refresh_token",

	// WordPress, WooCommerce, Magento, Drupal. Nextcloud's are probes of the
	// browser's own SameSite handling.
	"wp-settings-*", "wordpress_test_cookie", "comment_author_*",
	"woocommerce_cart_hash", "woocommerce_items_in_cart",
	"form_key", "mage-*", "private_content_version", "section_data_ids", "X-Magento-Vary",
	"Drupal.visitor.*", "Drupal.tableDrag.*", "has_js",
	"nc_sameSiteCookie*", "__Host-nc_sameSiteCookie*",

	// Consent and analytics.
	"OptanonConsent", "OptanonAlertBoxClosed", "CookieConsent", "cookieyes-consent",
	"cc_cookie", "euconsent-v2", "didomi_token",
	"_ga", "_ga_*", "_gid", "_gcl_*", "_fbp", "_fbc", "_hj*", "_pk_*",
	"ajs_*", "amplitude_*", "intercom-*", "hubspotutk", "__hs*",
}

// hopNames are names of hops in front of or inside Caddy, which must come back
// from the browser to whoever set them.
var hopNames = []string{
	"lb", // Caddy's lb_policy cookie
	"SERVERID", "INGRESSCOOKIE", "GCLB",
	"AWSALB", "AWSALBCORS", "AWSALBTG", "AWSALBTGCORS", "AWSALBAPP-*",
	"ARRAffinity", "ARRAffinitySameSite",
	"BIGipServer*", "NSC_*", "citrix_ns_id*",
	"cf_*", "__cf*",
	"incap_ses_*", "visid_incap_*", "nlbi_*",
}

var sessionGlobs = mustGlobs(sessionNames)

func mustGlobs(patterns []string) *globs {
	g, err := newGlobs(patterns, nil)
	if err != nil {
		panic(err) // only for patterns of this file
	}
	return g
}

// IsSessionName reports whether only a server-side session has such a name, as
// PHPSESSID and JSESSIONID.
func IsSessionName(name string) bool { return sessionGlobs.match(name) }

// SessionLike reports whether a name looks like that of a login session. It
// is a guess, used where a wrong one costs little: such cookies are the last
// to make room for others.
func SessionLike(name string) bool {
	n := Canonical(name)
	if strings.Contains(n, "csrf") || strings.Contains(n, "xsrf") {
		return false
	}
	for _, part := range [...]string{
		"sess", "auth", "token", "login", "remember", "identity",
		"logged_in", "wordpress_sec", "aspnet_applicationcookie", "aspnetcore_cookies",
	} {
		if strings.Contains(n, part) {
			return true
		}
	}
	switch n {
	case "sid", "connect_sid", "cfid", "jwt", "_aspxauth":
		return true
	}
	return false
}
