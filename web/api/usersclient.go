package api

import (
	"context"
	"net/http"
	"net/url"

	"github.com/postkeep/postkeep/web/users"
)

// Users lists the people.
func (c *Client) Users(ctx context.Context) ([]Person, error) {
	return get[[]Person](ctx, c, "/api/v1/users", nil)
}

// AddUser makes a user.
func (c *Client) AddUser(ctx context.Context, p NewPerson) (Person, error) {
	return send[Person](ctx, c, http.MethodPost, "/api/v1/users", p)
}

// ChangeUser changes a user.
func (c *Client) ChangeUser(ctx context.Context, name string, change PersonChange) (Person, error) {
	return send[Person](ctx, c, http.MethodPatch, "/api/v1/users/"+url.PathEscape(name), change)
}

// AddToken makes a token of a user.
func (c *Client) AddToken(ctx context.Context, name string, t TokenRequest) (NewToken, error) {
	return send[NewToken](ctx, c, http.MethodPost, "/api/v1/users/"+url.PathEscape(name)+"/tokens", t)
}

// RevokeToken removes a token of a user by its id.
func (c *Client) RevokeToken(ctx context.Context, name, id string) (Person, error) {
	return send[Person](ctx, c, http.MethodDelete, "/api/v1/users/"+url.PathEscape(name)+"/tokens/"+url.PathEscape(id), nil)
}

// Me returns the principal's own record.
func (c *Client) Me(ctx context.Context) (Person, error) {
	return get[Person](ctx, c, "/api/v1/me", nil)
}

// SetMyPassword changes the principal's password.
func (c *Client) SetMyPassword(ctx context.Context, change PasswordChange) (Person, error) {
	return send[Person](ctx, c, http.MethodPut, "/api/v1/me/password", change)
}

// SetMyCodes turns the principal's one-time codes on or off.
func (c *Client) SetMyCodes(ctx context.Context, change CodesChange) (Person, error) {
	return send[Person](ctx, c, http.MethodPut, "/api/v1/me/codes", change)
}

// AddMyToken makes a token of the principal.
func (c *Client) AddMyToken(ctx context.Context, t TokenRequest) (NewToken, error) {
	return send[NewToken](ctx, c, http.MethodPost, "/api/v1/me/tokens", t)
}

// RevokeMyToken removes a token of the principal by its id.
func (c *Client) RevokeMyToken(ctx context.Context, id string) (Person, error) {
	return send[Person](ctx, c, http.MethodDelete, "/api/v1/me/tokens/"+url.PathEscape(id), nil)
}

// SetMySearches replaces the principal's saved searches.
func (c *Client) SetMySearches(ctx context.Context, searches []users.SavedSearch) (Person, error) {
	return send[Person](ctx, c, http.MethodPut, "/api/v1/me/searches", searches)
}
